"""Steps that were measured, and the records that they become."""

import math

import numpy as np
import pytest
import torch

from gradcli.gradients.buffer import CAPACITY, StepBuffer, select_rows

CPU = torch.device("cpu")
ROWS = [
    # step, epoch, learning rate, loss, norms before, norms after
    (7, 1, 0.1, 2.5, [3.0, 4.0], [1.5, 2.0]),
    (8, 2, 0.05, 1.5, [0.0, 0.0], [0.0, 0.0]),
    (9, 3, 0.01, 0.5, [5.0, 12.0], [5.0, 12.0]),
]


def filled(rows, as_loss=float, as_norms=list):
    buffer = StepBuffer(CPU)
    for step, epoch, rate, loss, before, after in rows:
        buffer.append(step, epoch, rate, as_loss(loss), as_norms(before), as_norms(after))
    return buffer


def on_device(norms):
    return torch.tensor(norms, dtype=torch.float64)


@pytest.mark.parametrize("as_norms", [list, on_device])
@pytest.mark.parametrize("as_loss", [float, torch.tensor])
def test_records_hold_what_was_appended(as_loss, as_norms):
    buffer = filled(ROWS, as_loss, as_norms)
    assert len(buffer) == 3
    records = buffer.flush({"forward": 0.5})
    assert len(buffer) == 0
    assert records.step.tolist() == [7, 8, 9]
    assert records.epoch.tolist() == [1, 2, 3]
    assert records.learning_rate.tolist() == [0.1, 0.05, 0.01]
    assert records.loss.tolist() == [2.5, 1.5, 0.5]
    assert records.parameter_grad_norm_before_clip.tolist() == [[3, 4], [0, 0], [5, 12]]
    assert records.parameter_grad_norm_after_clip.tolist() == [[1.5, 2], [0, 0], [5, 12]]
    assert records.grad_norm_before_clip.tolist() == [5.0, 0.0, 13.0]
    assert records.clip_coefficient.tolist() == [0.5, 1.0, 1.0]
    assert records.phase_seconds == {"forward": 0.5}


def test_losses_may_be_numbers_and_tensors_in_turn():
    buffer = StepBuffer(CPU)
    for step, loss in enumerate([2.0, torch.tensor(1.5), 1.0]):
        buffer.append(step, 1, 0.1, loss, on_device([1.0]), on_device([1.0]))
    assert buffer.flush({}).loss.tolist() == [2.0, 1.5, 1.0]


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_a_norm_that_is_not_finite_was_not_clipped(norm):
    records = filled([(1, 1, 0.1, 1.0, [norm, 1.0], [norm, 1.0])]).flush({})
    assert records.clip_coefficient.tolist() == [1.0]
    assert records.grad_norm_before_clip.tolist() == pytest.approx([norm], nan_ok=True)


def test_small_norms_have_a_coefficient_too():
    records = filled([(1, 1, 0.1, 1.0, [0.5, 0.0], [0.125, 0.0])]).flush({})
    assert records.clip_coefficient.tolist() == [0.25]


def test_a_buffer_is_full_at_its_capacity_and_empty_once_flushed():
    buffer = StepBuffer(CPU)
    for step in range(CAPACITY):
        assert not buffer.full
        buffer.append(step, 1, 0.1, 1.0, [1.0], [1.0])
    assert buffer.full
    assert buffer.flush({}).step.tolist() == list(range(CAPACITY))
    assert not buffer.full
    buffer.append(5, 1, 0.1, 1.0, [1.0], [1.0])
    assert buffer.flush({}).step.tolist() == [5]


def test_rows_are_selected_in_all_columns_but_the_times():
    records = filled(ROWS).flush({"forward": 0.5})
    chosen = select_rows(records, np.array([True, False, True]))
    assert chosen.step.tolist() == [7, 9]
    assert chosen.clip_coefficient.tolist() == [0.5, 1.0]
    assert chosen.parameter_grad_norm_before_clip.tolist() == [[3, 4], [5, 12]]
    assert chosen.phase_seconds == {"forward": 0.5}
    assert select_rows(records, np.ones(3, dtype=bool)) is records
