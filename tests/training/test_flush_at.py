"""A caller that wants to see the model at a step gets the records there, and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.records import StepRecords
from gradcli.workflows.building import build_trainer

WORDS = ["data=mnist5k", "model.hidden=[8]", "model.dropout=0.3", "batch_size=500", "epochs=2"]


def run(flush_at=()):
    """Train two epochs of eight steps; return the trainer, all steps, and where it was seen."""
    trainer = build_trainer(compose_train(WORDS), load_dataset("mnist5k"))
    blocks, seen = [], []
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for record in trainer.run(flush_at=flush_at):
            if isinstance(record, StepRecords):
                blocks.append(record)
                assert trainer.step == record.step[-1]
                seen.append(trainer.step)
    return trainer, blocks, seen


@pytest.mark.parametrize("steps", [{3}, {1, 2, 3}, {8, 9}, {16}])
def test_the_records_of_a_step_come_at_once(steps):
    plain, blocks, _ = run()
    trainer, cut, seen = run(flush_at=steps)
    assert steps <= set(seen)
    for name in ("step", "loss", "parameter_grad_norm_before_clip"):
        whole = np.concatenate([getattr(block, name) for block in blocks])
        assert np.array_equal(np.concatenate([getattr(block, name) for block in cut]), whole)
    for one, other in zip(plain.model.parameters(), trainer.model.parameters(), strict=True):
        assert torch.equal(one, other)
