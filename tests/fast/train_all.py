"""Run as a script: trains every shipped model with three optimizers, and prints JSON.

For each pair a digest of all weights and one of all recorded numbers, and how many of its passes
and updates took a shortcut.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.fast.functional_update import FunctionalUpdate
from gradcli.fast.passes import WrittenOut
from gradcli.records import (
    EvalRecord,
    FingerprintRecord,
    LayerRecord,
    Record,
    SetupRecord,
    StepRecords,
)
from gradcli.workflows.building import build_trainer, obtain_data, run_settings

#: Networks of other libraries take no shortcut of a model's own.
OF_LIBRARIES = {"torchvision", "timm"}
MODELS = sorted(
    {path.stem for path in (Path(__file__).parents[2] / "configs" / "model").glob("*.yaml")}
    - OF_LIBRARIES
)
OPTIMIZERS = ("adam", "momentum", "rmsprop")
#: Enough for updates before and after a probed step, few enough for a network of convolutions.
SETTINGS = ("max_steps=6", "batch_size=16", "monitor.every=4", "clip.max_norm=0.5", "threads=1")
EXAMPLES = 32  # of an evaluation
COLUMNS = (
    *("step", "loss", "learning_rate", "grad_norm_before_clip", "clip_coefficient"),
    *("parameter_grad_norm_before_clip", "parameter_grad_norm_after_clip"),
)


def count(function, calls: list[bool]):
    """Return `function`, which now also notes whether each call did its work."""

    def counted(self, *arguments):
        result = function(self, *arguments)
        calls.append(result is not False)
        return result

    return counted


def numbers(records: list[Record]) -> bytes:
    """What was measured, without times: they decide how steps are divided into blocks."""
    blocks = [record for record in records if isinstance(record, StepRecords)]
    others = [record for record in records if not isinstance(record, StepRecords)]
    assert blocks
    assert {type(record) for record in others} == {
        LayerRecord,
        SetupRecord,
        FingerprintRecord,
        EvalRecord,
    }
    columns = [np.concatenate([getattr(block, name) for block in blocks]) for name in COLUMNS]
    timeless = [
        replace(record, seconds=0.0, seconds_train=0.0)
        if isinstance(record, EvalRecord)
        else record
        for record in others
    ]
    return b"".join(column.tobytes() for column in columns) + repr(timeless).encode()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def train(dataset, model: str, optimizer: str) -> dict[str, str]:
    # The model of texts reads this file.
    text = ("data=text", f"data.path={__file__}", "data.length=16")
    data = text if model == "charlm" else ("data=mnist5k",)
    composed = compose_train([*data, f"model={model}", f"optimizer={optimizer}", *SETTINGS])
    if data is text:
        dataset = obtain_data(composed.config.data, None, lambda *_: None)
    with run_settings(composed):
        trainer = build_trainer(composed, dataset)
        for split in ("val", "test"):
            trainer.splits[split].size = min(trainer.splits[split].size, EXAMPLES)
        records = list(trainer.run())
    weights = b"".join(weight.detach().numpy().tobytes() for weight in trainer.model.parameters())
    return {"weights": digest(weights), "records": digest(numbers(records))}


def main() -> None:
    passes: list[bool] = []
    updates: list[bool] = []
    WrittenOut.backward = count(WrittenOut.backward, passes)
    FunctionalUpdate.__call__ = count(FunctionalUpdate.__call__, updates)
    dataset = load_dataset("mnist5k")
    found = {}
    for model in MODELS:
        for optimizer in OPTIMIZERS:
            passes.clear()
            updates.clear()
            found[f"{model} {optimizer}"] = {
                **train(dataset, model, optimizer),
                "passes": sum(passes),
                "updates": sum(updates),
            }
    print(json.dumps({"trained": found, "compiler": "torch._dynamo" in sys.modules}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
