"""The scalars that trackers are told: which of them, at which steps, and in which order."""

import math

import numpy as np
import pytest

from gradcli.records import (
    DataInfo,
    EvalRecord,
    LayerInfo,
    LayerRecord,
    Metric,
    ParameterInfo,
    RunInfo,
    StepRecords,
)
from gradcli.trackers.scalars import ScalarStream, evaluation_scalars

LAYERS = (
    LayerInfo("", "Linear", 0, (ParameterInfo("weight", (4, 3)), ParameterInfo("bias", (4,)))),
    LayerInfo("output", "Linear", 1, (ParameterInfo("output.weight", (2, 4)),)),
)
NAN = math.nan


def info(metric="accuracy"):
    return RunInfo(
        run="", name="mine", data=DataInfo("mnist5k", 4, 5, 4, "abc", (1,), 10), model="mlp",
        model_size=24, optimizer="sgd", learning_rate=0.1, schedule="constant", clip="none",
        activation="relu", device="cpu", threads=1, batch_size=128, epochs=1, total_steps=40,
        start_step=0, layers=LAYERS, metric=Metric(metric, "maximize"),
    )  # fmt: skip


def steps(at, coefficients=None, loss=1.0):
    at = np.asarray(at)
    norms = at[:, None] * np.array([3.0, 4.0, 12.0])
    coefficient = np.full(len(at), 0.5) if coefficients is None else np.asarray(coefficients)
    return StepRecords(
        step=at,
        epoch=np.ones(len(at), dtype=int),
        loss=np.full(len(at), loss),
        learning_rate=np.full(len(at), 0.1),
        grad_norm_before_clip=13.0 * at,
        clip_coefficient=coefficient,
        parameter_grad_norm_before_clip=norms,
        parameter_grad_norm_after_clip=norms * coefficient[:, None],
    )


def measured(step, ratios=(0.1, 0.3)):
    return LayerRecord(step, (2.0, 4.0), tuple(ratios), (1.0, 1.0))


def evaluation(step, split="val", score=0.5, **more):
    return EvalRecord(step, 1, split, 0.7, score, 0.8, 1.0, 1.0, **more)


def told(*records, layers=False, metric="accuracy"):
    stream = ScalarStream(info(metric), layers=layers)
    return [scalars for record in records for scalars in stream.of(record)]


def test_a_step_has_the_totals_by_the_names_of_the_columns():
    assert told(steps([1])) == [
        (
            1,
            {
                "loss": 1.0,
                "learning_rate": 0.1,
                "grad_norm_before_clip": 13.0,
                "grad_norm_after_clip": 6.5,
                "clipped_fraction": 1.0,
            },
        )
    ]


def test_what_is_measured_of_layers_waits_for_its_step():
    found = told(measured(2), measured(4), steps([1, 2, 3]), steps([5]))
    assert [step for step, _ in found] == [1, 2, 3, 4, 5]
    assert [step for step, values in found if "update_ratio_median" in values] == [2, 4]
    assert set(found[3][1]) == {
        *("update_ratio_median", "update_ratio_smallest", "update_ratio_largest"),
    }


def test_steps_do_not_fall_if_no_step_is_logged():
    found = told(measured(3), steps([]), measured(5), evaluation(6), evaluation(6, "test"))
    assert [step for step, _ in found] == [3, 5, 6, 6]


def test_update_ratios_are_of_the_layers_that_have_one():
    ((_, values), _) = told(measured(1, (0.4, NAN)), steps([1, 2]))
    names = ("update_ratio_median", "update_ratio_smallest", "update_ratio_largest")
    assert [values[name] for name in names] == [0.4, 0.4, 0.4]
    ((_, values),) = told(measured(1, (NAN, NAN)), steps([1]))
    assert not any(name in values for name in names)
    ((_, values),) = told(measured(1, (0.1, 0.5)), steps([1]))
    assert [values[name] for name in names] == [0.3, 0.1, 0.5]


@pytest.mark.parametrize("cut", [0, 1, 3, 5])
def test_the_clipped_fraction_is_of_all_steps_so_far(cut):
    coefficients = np.array([1.0, 0.5, 1.0, 0.25, 1.0])
    at = np.arange(1, 6)
    blocks = [steps(at[:cut], coefficients[:cut]), steps(at[cut:], coefficients[cut:])]
    shares = [values["clipped_fraction"] for _, values in told(*blocks)]
    assert shares == [0.0, 1 / 2, 1 / 3, 2 / 4, 2 / 5]


def test_each_layer_has_curves_on_request():
    ((_, values),) = told(measured(1, (0.1, NAN)), steps([1]), layers=True)
    of_layers = {name: value for name, value in values.items() if "/" in name}
    assert of_layers == {
        "grad_norm_before_clip/Linear": 5.0,  # the model itself has no name
        "grad_norm_before_clip/output": 12.0,
        "grad_norm_after_clip/Linear": 2.5,
        "grad_norm_after_clip/output": 6.0,
        "weight_norm/Linear": 2.0,
        "weight_norm/output": 4.0,
        "update_ratio/Linear": 0.1,
    }


def test_an_evaluation_has_its_loss_and_each_score():
    further = {"top5": 0.9, "empty": NAN}
    (found,) = told(evaluation(7, "test", further_scores=further))
    assert found == (7, {"test_loss": 0.7, "test_accuracy": 0.5, "test_top5": 0.9})


def test_a_metric_called_loss_does_not_hide_the_loss():
    values = evaluation_scalars(evaluation(7, score=0.25), "loss")
    assert values == {"val_loss": 0.7, "val_loss_metric": 0.25}


def test_a_loss_that_is_not_finite_is_told():
    ((_, values),) = told(steps([1], loss=NAN))
    assert math.isnan(values["loss"])
