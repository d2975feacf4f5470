"""Evidence is gathered from a run's records: which rows, which layers, since when."""

import math

import numpy as np
import pytest

from gradcli.diagnosis import collect_evidence
from gradcli.diagnosis.limits import RATE_GONE
from gradcli.records import (
    DataInfo,
    LayerInfo,
    LayerRecord,
    ParameterInfo,
    RunInfo,
    SetupRecord,
    StepRecords,
)

MATRIX, VECTOR = (8, 8), (8,)


def layers_of(*shapes) -> tuple[LayerInfo, ...]:
    return tuple(
        LayerInfo(f"layer{at}", "Linear", at, (ParameterInfo(f"layer{at}.weight", shape),))
        for at, shape in enumerate(shapes)
    )


def collected(norms, *, after=None, losses=None, rates=None, records=(), shapes=None, setups=()):
    """The evidence of a run with these norms, (n, layers), all of matrices unless told."""
    norms = np.asarray(norms, dtype=float)
    count = len(norms)
    shapes = (MATRIX,) * norms.shape[1] if shapes is None else shapes
    info = RunInfo(
        run="r", name="", data=DataInfo("mnist5k", 4000, 500, 500, "", (1, 28, 28), 10),
        model="mlp", model_size=1, optimizer="sgd", learning_rate=0.1, schedule="constant",
        clip="none", activation="relu", device="cpu", threads=1, batch_size=128, epochs=1,
        total_steps=count + 1, start_step=0, layers=layers_of(*shapes),
    )  # fmt: skip
    steps = StepRecords(
        step=np.arange(1, count + 1),
        epoch=np.ones(count),
        loss=np.ones(count) if losses is None else np.asarray(losses, dtype=float),
        learning_rate=np.ones(count) if rates is None else np.asarray(rates, dtype=float),
        grad_norm_before_clip=np.linalg.norm(norms, axis=1),
        clip_coefficient=np.arange(count) / 10,
        parameter_grad_norm_before_clip=norms,
        parameter_grad_norm_after_clip=norms if after is None else np.asarray(after, dtype=float),
    )
    return collect_evidence(info, steps, tuple(records), (), None, *setups)


def record(step, weights) -> LayerRecord:
    """A measurement in which each other number follows from the weight norms."""
    weights = np.array(weights)
    return LayerRecord(step, *(tuple((k * weights).tolist()) for k in (1.0, 0.01, 0.1)))


def test_of_no_steps_there_is_no_last_one():
    found = collected(np.empty((0, 2)))
    assert (found.steps, found.last_step, found.rate_gone_since) == (0, 0, 0)
    assert math.isnan(found.rate_of_first_update) and found.first_learning_rate == 0
    assert np.isnan(found.weights).all() and found.weights.shape == (2,)
    assert found.silent_since.tolist() == [0, 0]


def test_rows_that_are_not_finite_are_left_out_everywhere():
    norms = np.arange(1.0, 6.0)[:, None]
    found = collected(norms, losses=[math.nan, 2, 3, 4, math.inf], rates=[9, 2, 3, 4, 9])
    assert found.losses.tolist() == [2, 3, 4]
    assert found.norms.tolist() == [[2], [3], [4]]
    assert found.clip_coefficients.tolist() == [0.1, 0.2, 0.3]
    assert found.sampled_steps.tolist() == [2, 3, 4]
    assert (found.steps, found.last_step) == (3, 4)
    assert (found.rate_of_first_update, found.first_learning_rate) == (2, 4)
    assert (found.convergence.first_loss, found.convergence.first_norm) == (2, 2)


def test_the_first_learning_rate_is_the_largest_of_twenty_steps():
    rates = np.concatenate([np.arange(1.0, 21.0), [99.0] * 5])
    assert collected(np.ones((25, 1)), rates=rates).first_learning_rate == 20


@pytest.mark.parametrize(
    ("count", "sampled"), [(1999, 1999), (2000, 2000), (2001, 2000), (5999, 2000)]
)
def test_of_a_long_run_two_thousand_steps_are_sampled_evenly(count, sampled):
    found = collected(np.ones((count, 1)))
    assert (found.steps, len(found.losses)) == (count, sampled)
    assert (found.sampled_steps[0], found.sampled_steps[-1]) == (1, count)
    assert np.ptp(np.diff(found.sampled_steps)) <= 1


def test_layers_with_a_matrix_come_in_the_order_of_the_forward_pass():
    records = [record(1, [1.0, 2.0, 3.0]), record(5, [1.0, 4.0, 9.0])]
    shapes = (MATRIX, VECTOR, MATRIX)
    registered = collected(np.tile([1.0, 2.0, 3.0], (4, 1)), records=records, shapes=shapes)
    assert [layer.name for layer in registered.layers] == ["layer0", "layer2"]
    assert registered.order == ()
    setup = SetupRecord(0, (), (True,) * 3, call_order=(2, 1, 0))
    called = collected(
        np.tile([1.0, 2.0, 3.0], (4, 1)), records=records, shapes=shapes, setups=(setup,)
    )
    assert [layer.name for layer in called.layers] == ["layer2", "layer0"]
    assert called.order == (1, 0)
    assert called.norms[0].tolist() == [3, 1]
    assert called.weights.tolist() == [3, 1]  # of the first measurement
    assert called.weight_norms.tolist() == [[3, 1], [9, 1]]
    assert called.update_ratios == pytest.approx(np.array([[0.03, 0.01], [0.09, 0.01]]))
    assert called.input_norms == pytest.approx(np.array([[0.3, 0.1], [0.9, 0.1]]))
    assert called.record_steps.tolist() == [1, 5]


def test_the_first_setup_is_the_only_one_unless_told():
    first, last = (SetupRecord(step, (), (True,)) for step in (0, 9))
    assert collected(np.ones((4, 1)), setups=(last,)).first_setup is last
    found = collected(np.ones((4, 1)), setups=(last, first))
    assert (found.setup, found.first_setup) == (last, first)


# Rates and gradients that end ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "since"),
    [
        ([1.0, 1.0, RATE_GONE.value, RATE_GONE.value], 0),
        ([1.0, 1.0, 0.99 * RATE_GONE.value, 0.0], 3),
        ([1.0, 0.0, 1.0, 0.0], 4),
        ([1.0, 1.0, 1.0, 0.0], 4),
        ([0.0, 1.0, 1.0, 1.0], 0),
        ([0.0, 0.0, 0.0, 0.0], 0),  # it was never at work
        ([1e-6, 1e-6, 0.0, 0.0], 3),
    ],
)
def test_a_rate_is_gone_if_a_thousandth_is_left_to_the_end(rates, since):
    assert collected(np.ones((4, 1)), rates=rates).rate_gone_since == since


def test_a_gradient_is_gone_before_the_update_if_it_never_gets_there():
    before = np.array([[1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    after = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert collected(before, after=after).gone_before_update == (True, False, False, True)


def test_a_layer_is_silent_from_the_step_after_its_last_gradient():
    norms = np.ones((6, 5))
    norms[:, 1] = 0  # from the start
    norms[2:, 2] = 0
    norms[5:, 3] = 0
    norms[1:4, 4] = 0  # not to the end
    assert collected(norms).silent_since.tolist() == [0, 1, 3, 6, 0]
    assert collected(norms[:1]).silent_since.tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize("last", [1, 2, 6_999, 7_000, 7_001, 11_998, 11_999])
def test_silence_is_dated_across_blocks_of_a_long_run(last):
    """Read from its end in blocks of 5,000: of 12,000 steps the later ones begin after 7,000."""
    norms = np.ones((12_000, 3))
    norms[last:, 1] = 0  # the last gradient is that of step `last`
    norms[:, 2] = 0
    assert collected(norms).silent_since.tolist() == [0, last + 1, 1]


def test_a_step_that_is_not_finite_is_no_gradient():
    norms = np.ones((5, 2))
    norms[2:, 1] = 0
    norms[3] = math.nan
    assert collected(norms).silent_since.tolist() == [0, 3]


# Layers without a matrix --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "norm", "still"),
    [
        ([(2.0, 2.0, 2.0), (2.0, 2.0, 2.0)], 1.0, ("layer1",)),
        ([(2.0, 2.0, 2.0), (2.0, 2.1, 2.0)], 1.0, ()),
        ([(2.0, 2.0, 2.0), (2.1, 2.0, 2.1)], 1.0, ("layer1",)),
        ([(2.0, 2.0, 2.0), (2.0, 2.0, 2.0)], 0.0, ()),
        ([(2.0, math.nan, 2.0), (2.0, math.nan, 2.0)], 1.0, ()),
        ([(2.0, 2.0, 2.0)], 1.0, ()),  # measured once
        ([], 1.0, ()),
    ],
)
def test_a_norm_layer_is_still_if_it_keeps_its_norm_under_a_gradient(weights, norm, still):
    found = collected(
        np.tile([1.0, norm, 1.0], (4, 1)),
        records=[record(1 + at, row) for at, row in enumerate(weights)],
        shapes=(MATRIX, VECTOR, MATRIX),
    )
    assert found.still_elsewhere == still


def test_without_steps_no_layer_is_known_to_get_a_gradient():
    records = [record(1, (2.0, 2.0)), record(2, (2.0, 2.0))]
    found = collected(np.empty((0, 2)), records=records, shapes=(MATRIX, VECTOR))
    assert found.still_elsewhere == ()
