"""The rules on evidence made by hand: what fires, in which layer, and what does not."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest

from gradcli.diagnosis import (
    Evidence,
    Probed,
    ThroughTime,
    collect_evidence,
    diagnose,
    examine,
    limits,
)
from gradcli.diagnosis.loss_trend import (
    RateChange,
    Spike,
    describe_loss_trend,
    find_rate_changes,
    find_spikes,
)
from gradcli.diagnosis.rules import RULES
from gradcli.diagnosis.rules.data import block_starts
from gradcli.records import (
    DataInfo,
    FaultRecord,
    LayerInfo,
    LayerRecord,
    ParameterInfo,
    RunInfo,
    StepRecords,
)

LN_10 = math.log(10)


def network(count: int) -> tuple[LayerInfo, ...]:
    names = [f"hidden{i + 1}" for i in range(count - 1)] + ["output"]
    return tuple(
        LayerInfo(name, "Linear", i, (ParameterInfo(f"{name}.weight", (8, 8)),))
        for i, name in enumerate(names)
    )


def run_info(layers, **changes) -> RunInfo:
    info = RunInfo(
        run="r", name="", data=DataInfo("mnist5k", 4000, 500, 500, "", (1, 28, 28), 10),
        model="mlp", model_size=1, optimizer="sgd", learning_rate=0.1, schedule="constant",
        clip="none", activation="relu", device="cpu", threads=1, batch_size=128, epochs=1,
        total_steps=40, start_step=0, layers=layers,
    )  # fmt: skip
    return replace(info, **changes)


def evidence(
    relative_norms,
    *,
    ratio=None,
    losses=None,
    weights=None,
    inputs=None,
    coefficient=1.0,
    fault=None,
    spikes=(),
    rate_changes=(),
    probed=None,
    **info,
):
    """Evidence of 40 steps in which each layer has one norm relative to its weights.

    Unless one `ratio` is given, updates are in proportion to the gradients, as SGD makes them.
    """
    layers = network(len(relative_norms))
    weights = np.ones(len(layers)) if weights is None else np.array(weights)
    losses = np.linspace(2.3, 0.7, 40) if losses is None else np.array(losses)
    norms = np.tile(np.array(relative_norms) * weights, (40, 1))
    ratios = 1e-3 * np.array(relative_norms) / max(relative_norms) if ratio is None else ratio
    inputs = np.ones(len(layers)) if inputs is None else np.array(inputs)
    return Evidence(
        info=run_info(layers, **info),
        layers=layers,
        norms=norms,
        weights=weights,
        update_ratios=np.broadcast_to(ratios, (4, len(layers))).astype(float),
        record_steps=np.array([1, 11, 21, 31]),
        input_norms=np.tile(inputs, (4, 1)),
        losses=losses,
        clip_coefficients=np.full(40, coefficient),
        steps=40,
        convergence=describe_loss_trend(losses, np.linalg.norm(norms, axis=1)),
        spikes=spikes,
        rate_changes=rate_changes,
        evals=(),
        fault=fault,
        probed=probed,
    )


def probe(count, *, dead=0.0, saturated=0.0, frozen=None, **more) -> Probed:
    return Probed(
        dead_fraction=np.broadcast_to(dead, count),
        saturated_fraction=np.broadcast_to(saturated, count),
        frozen=(False,) * count if frozen is None else frozen,
        **more,
    )


def codes(found) -> list[str]:
    return [finding.code for finding in diagnose(found)]


# Along the depth ----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
@pytest.mark.parametrize("layers", [1, 3, 20])
def test_even_gradients_are_healthy_at_any_scale(scale, layers):
    assert codes(evidence([scale] * layers)) == ["healthy"]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_vanishing_is_relative_and_names_the_weakest_layer_not_the_strongest(scale):
    found = diagnose(evidence(scale * np.array([1e-7, 1e-8, 1e-4, 1e-2, 1.0])))
    assert [finding.code for finding in found] == ["vanishing"]
    assert found[0].layer == "hidden2"
    assert found[0].evidence["layers"] == "hidden1 to hidden3"
    assert found[0].evidence["factor"] == pytest.approx(1e-8)
    assert "1.00e-08" in found[0].message


def test_exploding_is_growth_towards_the_input_and_names_the_strongest_layer():
    found = diagnose(evidence([1e5, 1e3, 1.0, 0.1]))
    assert [finding.code for finding in found] == ["exploding"]
    assert found[0].layer == "hidden1"


def test_large_weights_explain_large_gradients():
    assert codes(evidence([1.0, 1.0, 1.0], weights=[1e5, 1.0, 0.5])) == ["initial-scale"]
    well = np.geomspace(9.0, 0.02, 40)
    found = diagnose(evidence([1.0, 1.0, 1.0], weights=[1e5, 1.0, 0.5], losses=well))
    assert [(one.code, one.severity) for one in found] == [
        ("initial-scale", "info"),
        ("healthy", "info"),
    ]
    assert found[0].message.endswith("The model learns all the same.")


@pytest.mark.parametrize(("factor", "expected"), [(1.1e-3, "healthy"), (0.9e-3, "vanishing")])
def test_the_threshold_is_a_thousandth(factor, expected):
    assert codes(evidence([factor, 1.0])) == [expected]


@pytest.mark.parametrize(
    ("inputs", "code", "layer"),
    [([1e-6, 1e-3, 1.0], "vanishing", "hidden1"), ([1e6, 1e3, 1.0], "exploding", "hidden1")],
)
def test_the_inputs_gradients_tell_what_the_weights_do_not(inputs, code, layer):
    """With rectifiers <gradient, weights> is the same in all layers, whatever signals do."""
    found = diagnose(evidence([1.0, 1.0, 1.0], inputs=inputs, losses=np.full(40, 2.3)))
    assert [(finding.code, finding.layer) for finding in found] == [(code, layer)]
    assert "input_grad_norm" in found[0].evidence


def test_a_first_loss_far_above_that_of_guessing_is_an_explosion():
    for first, expected in ((4.9 * LN_10, []), (5.1 * LN_10, ["exploding"])):
        losses = np.linspace(first, 0.3, 40)
        assert [code for code in codes(evidence([1.0, 1.0], losses=losses)) if code != "healthy"] \
            == expected  # fmt: skip
    unknown = evidence([1.0, 1.0], losses=np.linspace(1e6, 0.3, 40))
    info = replace(unknown.info, data=replace(unknown.info.data, classes=0))
    assert codes(replace(unknown, info=info)) == ["undetermined"]  # another loss, another scale


# Layers, units and time steps ---------------------------------------------------------------


def test_a_layer_without_gradient_is_named():
    found = diagnose(evidence([1.0, 0.0, 1.0]))
    assert [(finding.code, finding.layer) for finding in found] == [("no-gradient", "hidden2")]
    assert found[0].severity == "error"


def test_of_several_in_a_row_the_one_that_lets_nothing_through_is_named():
    found = diagnose(evidence([0.0, 0.0, 0.0, 1.0, 0.0, 1.0]))
    assert [finding.layer for finding in found] == ["hidden3", "hidden5"]
    assert "from hidden1 on" in found[0].message


def test_a_frozen_layer_differs_from_one_that_gets_no_gradient():
    still = evidence([1.0, 0.0, 1.0])
    still.update_ratios[:, 1] = math.nan
    found = diagnose(still)
    assert [one.code for one in found] == ["frozen", "healthy"]
    assert (found[0].layer, found[0].severity) == ("hidden2", "info")
    assert "every trained layer" in found[1].message


@pytest.mark.parametrize(("share", "severity"), [(0.5, None), (0.81, "warning"), (1.0, "error")])
def test_dead_units_are_those_beyond_what_a_healthy_rectifier_has(share, severity):
    found = diagnose(evidence([1.0, 1.0, 1.0], probed=probe(3, dead=[0.0, share, math.nan])))
    graver = [finding for finding in found if finding.severity != "info"]
    assert [(one.code, one.layer, one.severity) for one in graver] == (
        [("dead-units", "hidden2", severity)] if severity else []
    )


def test_a_dead_layer_explains_why_those_before_it_get_no_gradient():
    found = diagnose(evidence([0.0, 0.0, 1.0], probed=probe(3, dead=[0.1, 1.0, math.nan])))
    assert [(finding.code, finding.layer) for finding in found] == [("dead-units", "hidden2")]


def test_saturation_in_many_layers_is_one_finding_in_the_worst():
    shares = [0.6, 0.9, 0.7, math.nan]
    (found,) = diagnose(evidence([1.0] * 4, probed=probe(4, saturated=shares), activation="tanh"))
    assert (found.code, found.layer) == ("saturated", "hidden2")
    assert found.evidence == {"saturated_fraction": 0.9, "layers": 3}
    assert "2 other layers" in found.message


def through_time(ratio, *, gated=False, steps=28):
    return (ThroughTime("rnn", np.logspace(math.log10(ratio), 0, steps), gated),)


@pytest.mark.parametrize(
    ("ratio", "gated", "expected"),
    [
        (1e-2, False, None),
        (1e-9, False, "warning"),
        (1e-9, True, "info"),
        (1e-4, False, "info"),  # more than half of the time steps get a thousandth
    ],
)
def test_gradients_vanish_through_time(ratio, gated, expected):
    found = diagnose(
        evidence([1.0, 1.0], probed=probe(2, through_time=through_time(ratio, gated=gated)))
    )
    vanishing = [finding for finding in found if finding.code == "vanishing"]
    assert [finding.severity for finding in vanishing] == ([expected] if expected else [])
    assert ("healthy" in {finding.code for finding in found}) == (expected != "warning")
    assert all(finding.layer == "rnn" for finding in vanishing)


def test_gradients_explode_through_time():
    (found,) = diagnose(evidence([1.0, 1.0], probed=probe(2, through_time=through_time(1e6))))
    assert (found.code, found.layer, found.severity) == ("exploding", "rnn", "warning")
    assert found.evidence["factor"] == pytest.approx(1e-6)


def test_a_wrong_derivative_is_an_error_in_its_module():
    (found,) = diagnose(evidence([1.0], probed=probe(1, wrong_gradients=(("mine", 0.5),))))
    assert (found.code, found.layer, found.severity) == ("wrong-gradient", "mine", "error")


# The pace -----------------------------------------------------------------------------------


def test_a_learning_rate_too_high_needs_large_updates_and_a_loss_that_does_not_fall():
    flat = np.full(40, 2.3)
    found = diagnose(evidence([1.0, 1.0], ratio=5.0, losses=flat))
    assert [finding.code for finding in found] == ["lr-too-high"]
    assert found[0].override == "optimizer.lr=0.001"
    assert codes(evidence([1.0, 1.0], ratio=4e-3, losses=flat)) == ["plateau"]
    well = np.geomspace(2.3, 0.02, 40)
    assert codes(evidence([1.0, 1.0], ratio=5.0, losses=well)) == ["healthy"]


def test_a_loss_that_came_down_from_its_own_explosion_has_not_fallen():
    losses = np.concatenate([[2.3], np.linspace(9000, 290, 39)])
    assert codes(evidence([1.0, 1.0], ratio=0.01, losses=losses)) == ["lr-too-high"]
    recovered = np.concatenate([[2.3], np.linspace(9.0, 0.3, 39)])
    assert codes(evidence([1.0, 1.0], ratio=0.01, losses=recovered)) == ["healthy"]


def test_no_layer_is_blamed_for_what_flows_through_a_wreck():
    losses = np.concatenate([[2.3], np.linspace(9000, 290, 39)])
    wreck = evidence([1e-9, 1.0], ratio=0.01, losses=losses)
    wreck.norms[0] = 1.0
    assert codes(wreck) == ["lr-too-high"]
    wreck.norms[0] = [1e-9, 1.0]  # so it was from the start
    assert codes(wreck) == ["lr-too-high", "vanishing"]


def test_units_that_training_killed_are_not_blamed_on_the_model():
    dead = probe(2, dead=[1.0, math.nan])
    harmful = Spike(30, "hidden1", 40.0, loss_before=0.5, loss_after=2.0)
    ill = diagnose(evidence([1.0, 1.0], probed=dead, spikes=(harmful,)))
    assert [(one.code, one.follows_from) for one in ill] == [
        ("spike", None),
        ("dead-units", "spike"),
    ]
    assert codes(evidence([1.0, 1.0], probed=dead)) == ["dead-units"]


def test_a_learning_rate_too_low_leaves_weights_and_loss_where_they_were():
    flat = np.full(40, 2.3)
    (found,) = diagnose(evidence([1.0, 1.0], ratio=3e-5, losses=flat))
    assert (found.code, found.layer) == ("lr-too-low", None)
    assert found.override == "optimizer.lr=67"
    assert codes(evidence([1.0, 1.0], ratio=3e-5)) == ["healthy"]  # the loss falls all the same


@pytest.mark.parametrize(
    ("clip", "override"),
    [
        ("norm 0.01", "clip.max_norm=5"),
        ("per_layer 0.1", "clip.max_norm=50"),
        ("value 0.001", "clip.max_value=1.5"),
        ("autoclip 10.0", None),
    ],
)
def test_clipping_that_sets_every_step_differs_from_one_that_tempers(clip, override):
    (found,) = diagnose(evidence([1.0, 1.0], coefficient=0.02, clip=clip))
    assert (found.code, found.override) == ("always-clipped", override)
    assert codes(evidence([1.0, 1.0], coefficient=0.2, clip=clip)) == ["healthy"]
    now_and_then = evidence([1.0, 1.0], clip=clip)
    now_and_then.clip_coefficients[::10] = 0.001
    assert codes(now_and_then) == ["healthy"]


def test_batches_that_contradict_each_other_are_noise():
    losses = 1.5 + np.tile([1.0, -1.0], 20)
    (found,) = diagnose(evidence([1.0, 1.0], losses=losses, batch_size=2))
    assert (found.code, found.severity) == ("noise-dominated", "warning")
    assert found.override == "batch_size=64"
    learned = np.concatenate([np.full(10, 2.3), 0.01 * losses[:30]])
    assert codes(evidence([1.0, 1.0], losses=learned)) == ["healthy"]


@pytest.mark.parametrize(
    ("low", "batch_size", "expected"), [(900.0, 128, []), (2000.0, 128, ["info"])]
)
def test_a_large_noise_scale_late_in_training_is_reported(low, batch_size, expected):
    probed = probe(2, noise_scale=(math.inf, low, math.inf))
    found = diagnose(evidence([1.0, 1.0], probed=probed, batch_size=batch_size))
    noise = [finding.severity for finding in found if finding.code == "noise-dominated"]
    assert noise == expected
    assert "healthy" in {finding.code for finding in found}


def test_a_spike_is_a_fault_only_if_it_leaves_a_trace():
    harmless = Spike(30, "hidden2", 40.0, loss_before=0.5, loss_after=0.5)
    harmful = replace(harmless, loss_after=2.0)
    tiny = replace(harmless, loss_before=1e-4, loss_after=1e-2)
    assert codes(evidence([1.0, 1.0], spikes=(harmless, tiny))) == ["healthy"]
    (found,) = diagnose(evidence([1.0, 1.0], spikes=(harmless, harmful)))
    assert (found.code, found.layer, found.override) == ("spike", "hidden2", "clip=norm")
    jump = (RateChange(29, 100.0),)
    (found,) = diagnose(evidence([1.0, 1.0], spikes=(harmful,), rate_changes=jump))
    assert found.override == "schedule=constant"
    assert "multiplied by 100 at step 29" in found.message


def test_a_plateau_is_what_nothing_else_explains():
    flat = np.full(40, 2.3)
    assert codes(evidence([1.0, 1.0], ratio=4e-3, losses=flat)) == ["plateau"]
    assert codes(evidence([1e-9, 1.0], losses=flat)) == ["vanishing"]
    falling_from_high = np.linspace(9.0, 4.0, 40)
    assert codes(evidence([1.0, 1.0], losses=falling_from_high)) == ["undetermined"]


# Faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "layer", "words"),
    [
        ("forward", "hidden1", "output of layer `hidden1`"),
        ("backward", "output", "gradient of layer `output`"),
        ("loss", None, "(inf or NaN) was the loss"),
    ],
)
def test_a_fault_is_an_error_that_comes_first(phase, layer, words):
    fault = FaultRecord(41, 1, phase, layer, math.inf, (1, 2))
    found = diagnose(evidence([1e-9, 1.0], fault=fault, ratio=5.0))
    assert [finding.code for finding in found] == ["lr-too-high", "non-finite", "vanishing"]
    assert found[0].override == "optimizer.lr=0.001"
    assert found[1].layer == layer
    assert words in found[1].message
    assert (found[1].follows_from, found[1].override) == ("lr-too-high", None)


@pytest.mark.parametrize(
    ("changes", "override"),
    [
        ({}, None),  # nothing gave notice: no override is known to help
        ({"ratio": 5.0}, "optimizer.lr=0.001"),
        ({"losses": np.geomspace(2.3, 1e30, 40)}, "optimizer.lr=0.01"),
        ({"losses": np.full(40, 1e9)}, "init=default"),
        ({"rate_changes": (RateChange(30, 50.0),)}, "schedule=constant"),
    ],
)
def test_the_learning_rate_is_blamed_for_a_fault_only_on_evidence(changes, override):
    fault = FaultRecord(41, 1, "forward", "hidden1", math.nan, ())
    assert diagnose(evidence([1.0, 1.0], fault=fault, **changes))[0].override == override


@pytest.mark.parametrize(
    ("activation", "model", "override"),
    [
        ("sigmoid", "deep_mlp", "activation=relu init=kaiming"),
        ("relu", "deep_mlp", "init=kaiming"),
        ("relu", "rnn", "init=orthogonal"),
        ("relu", "cnn", "init=kaiming"),
    ],
)
def test_the_override_fits_the_model(activation, model, override):
    found = diagnose(evidence([1e-9, 1.0], activation=activation, model=model))
    assert found[0].override == override


def test_a_users_own_loop_gets_advice_but_no_overrides():
    found = evidence([1e-9, 0.0, 1.0], ratio=5.0, losses=np.full(40, 2.3), total_steps=0)
    assert {finding.code for finding in diagnose(found)} == {
        *("vanishing", "no-gradient", "lr-too-high")
    }
    assert all(finding.override is None for finding in diagnose(found))


# What was tested ----------------------------------------------------------------------------


def test_healthy_is_reported_only_if_something_was_tested():
    full = evidence([1.0, 1.0])
    few = replace(full, steps=5, norms=full.norms[:5], losses=full.losses[:5])
    assert codes(few) == []
    assert codes(replace(full, update_ratios=full.update_ratios[:0])) == []
    assert codes(replace(few, probed=probe(2))) == ["healthy"]


def test_it_says_what_was_not_tested_and_what_it_takes():
    every_code = {code for rule in RULES for code in rule.codes}
    of_run = examine(evidence([1.0, 1.0]))
    assert set(of_run.tested) | set(of_run.not_tested) == every_code
    assert "--probe" in of_run.not_tested["dead-units"]
    assert of_run.not_tested["wrong-gradient"] == "--check"
    of_model = examine(replace(evidence([1.0, 1.0]), steps=1, probed=probe(2)))
    assert {"dead-units", "saturated", "vanishing"} <= set(of_model.tested)
    assert "20 steps" in of_model.not_tested["lr-too-high"]


def test_every_limit_has_a_reason_and_a_source():
    table = [value for value in vars(limits).values() if isinstance(value, limits.Limit)]
    assert len(table) >= 15
    for limit in table:
        assert limit.reason.endswith(".")
        assert limit.source
    assert {field.name for field in fields(limits.Limit)} == {"value", "reason", "source"}


def test_the_rules_need_no_torch():
    rooms = "gradcli.inspection.run_summary, gradcli.inspection.assemble"
    code = f"import sys, {rooms}; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


# From records -------------------------------------------------------------------------------


def steps_of(norms, *, losses=None, rates=None) -> StepRecords:
    """Steps with these norms by parameter, (n, P)."""
    count = len(norms)
    return StepRecords(
        step=np.arange(1, count + 1), epoch=np.ones(count),
        loss=np.ones(count) if losses is None else np.array(losses),
        learning_rate=np.ones(count) if rates is None else np.array(rates),
        grad_norm_before_clip=np.sqrt(np.square(norms).sum(axis=1)),
        clip_coefficient=np.ones(count), parameter_grad_norm_before_clip=norms,
        parameter_grad_norm_after_clip=norms,
    )  # fmt: skip


def test_evidence_leaves_out_norm_layers_and_non_finite_steps_and_samples_long_runs():
    layers = (
        *network(2),
        LayerInfo("norm1", "BatchNorm1d", 2, (ParameterInfo("norm1.weight", (8,)),)),
    )
    count = 50_000
    norms = np.ones((count, 3))
    norms[:, 1] = np.linspace(1, 2, count)
    norms[100] = math.nan
    record = LayerRecord(1, (2.0, 4.0, 8.0), (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    found = collect_evidence(run_info(layers), steps_of(norms), (record,), (), None)
    assert [layer.name for layer in found.layers] == ["hidden1", "output"]
    assert found.weights.tolist() == [2.0, 4.0]
    assert found.update_ratios.tolist() == [[0.1, 0.2]]
    assert found.input_norms.tolist() == [[1.0, 1.0]]
    assert (len(found.norms), found.steps) == (2000, count - 1)
    assert np.isfinite(found.norms).all()
    assert found.relative_norms == pytest.approx([0.5, 1.5 / 4], rel=1e-3)


def test_spikes_are_found_at_their_step_and_in_their_layer():
    generator = np.random.default_rng(0)
    norms = np.exp(generator.normal(0, 0.3, (300, 2)))
    losses = np.exp(generator.normal(0, 0.01, 300))
    norms[200:203, 1] *= 100
    losses[200:] *= 3
    (spike,) = find_spikes(steps_of(norms, losses=losses), network(2))
    assert (spike.step, spike.layer) == (201, "output")
    total = np.linalg.norm(norms, axis=1)
    factors = [total[i] / np.median(total[i - 25 : i]) for i in range(200, 203)]
    assert spike.factor == pytest.approx(max(factors))
    assert (spike.loss_before, spike.loss_after) == pytest.approx((1.0, 3.0), rel=0.02)


def test_a_spike_needs_something_to_be_compared_with_and_survives_non_finite_steps():
    norms = np.ones((60, 1))
    norms[9] = 1e6
    assert find_spikes(steps_of(norms), network(1)) == ()
    norms[9], norms[10] = 1.0, 1e6
    assert [spike.step for spike in find_spikes(steps_of(norms), network(1))] == [11]
    norms[10] = 1.0
    norms[40] = math.nan
    norms[50] = 1e3
    assert [spike.step for spike in find_spikes(steps_of(norms), network(1))] == [51]


def test_spikes_are_those_of_the_definition_where_blocks_meet():
    """The median of the 25 norms before, computed step by step."""
    generator = np.random.default_rng(0)
    norms = np.exp(generator.normal(0, 1.1, (25_000, 1)))
    norms[[19_999, 20_000, 20_026, 24_000]] = [[1e4], [2e4], [1e4], [1e4]]
    norms[[5_000, 20_010]] = np.nan  # these are left out of the count
    norms[15_000:15_030] = 0.0  # what follows has nothing to be compared with
    steps = steps_of(norms)
    finite = np.flatnonzero(np.isfinite(norms[:, 0]))
    high = {
        int(steps.step[finite[at]]): norms[finite[at], 0] / usual
        for at in range(25, len(finite))
        if (usual := np.median(norms[finite[at - 25 : at], 0])) > 0
        and norms[finite[at], 0] > 10 * usual
    }
    expected = {}  # the first step of those in a row, and the largest factor of them
    last = -1000
    places = {int(steps.step[row]): place for place, row in enumerate(finite)}
    for step, factor in high.items():
        if places[step] - last > 25:
            first = step
        expected[first] = max(expected.get(first, 0.0), factor)
        last = places[step]
    found = {spike.step: spike.factor for spike in find_spikes(steps, network(1))}
    assert len(expected) > 100
    assert found == pytest.approx(expected)


def test_rate_changes_are_seen_where_blocks_meet():
    rates = np.full(60_001, 0.1)
    for first in (19_999, 20_000, 20_001, 40_000, 60_000):
        rates[first:] *= 7 if first % 2 else 1 / 7
    found = find_rate_changes(steps_of(np.ones((60_001, 1)), rates=rates))
    ratios = rates[1:] / rates[:-1]
    (jumps,) = np.nonzero(ratios != 1)
    assert [change.step for change in found] == (jumps + 2).tolist()
    assert [change.factor for change in found] == pytest.approx(ratios[jumps].tolist())


def test_jumps_of_the_learning_rate_are_not_confused_with_schedules():
    cosine = 0.1 * (1 + np.cos(np.pi * np.arange(200) / 200)) / 2
    warm_up = np.concatenate([0.1 * np.arange(1, 21) / 20, cosine])
    assert find_rate_changes(steps_of(np.ones((220, 1)), rates=warm_up)) == ()
    stairs = np.repeat([0.1, 0.01, 1.0], 50)
    found = find_rate_changes(steps_of(np.ones((150, 1)), rates=stairs))
    assert [(one.step, pytest.approx(one.factor)) for one in found] == [(51, 0.1), (101, 100.0)]


@pytest.mark.parametrize(
    ("losses", "trend"),
    [
        (np.geomspace(2.3, 0.05, 200), "falling"),
        (np.geomspace(1.0, 30.0, 200), "rising"),
        (np.concatenate([np.geomspace(2.3, 0.1, 50), np.full(150, 0.1)]), "converged"),
        (np.full(200, 2.3), "plateau"),
        (2.3 + np.random.default_rng(0).uniform(-1.5, 1.5, 200), "noise"),
        (np.full(19, 2.3), "unknown"),
    ],
)
def test_the_trend_of_a_loss(losses, trend):
    noisy = losses * np.exp(np.random.default_rng(1).normal(0, 0.01, len(losses)))
    assert describe_loss_trend(noisy, np.ones(len(losses))).trend == trend


def test_the_scatter_is_the_deviation_and_does_not_see_a_trend():
    generator = np.random.default_rng(2)
    flat = 5 + generator.normal(0, 0.5, 20_000)
    assert describe_loss_trend(flat, flat).scatter == pytest.approx(0.1, rel=0.05)
    trend = np.linspace(10, 5, 20_000)
    assert describe_loss_trend(trend, trend).scatter < 1e-3


def test_the_norm_follows_the_loss_or_does_not():
    losses = np.geomspace(2.3, 0.05, 200)
    assert describe_loss_trend(losses, losses**2).norm_follows_loss == pytest.approx(1.0)
    random = np.exp(np.random.default_rng(3).normal(0, 1, 200))
    assert abs(describe_loss_trend(losses, random).norm_follows_loss) < 0.2


def test_no_activation_is_proposed_to_a_model_that_takes_none():
    vanishing = (1e-8, 1e-8, 1e-8, 1.0)
    (finding,) = diagnose(evidence(vanishing, activation=""))
    assert finding.override == "init=kaiming"
    (finding,) = diagnose(evidence(vanishing, activation="", model="net"))
    assert finding.override == "init=kaiming"
    (finding, *_) = diagnose(evidence((0.0, 1.0), activation=""))
    assert (finding.code, finding.override) == ("no-gradient", None)


def test_a_users_own_loop_is_not_told_to_probe():
    told = examine(evidence((1.0, 1.0), total_steps=0))
    assert told.not_tested
    assert not any("--" in reason for reason in told.not_tested.values())
    assert all(finding.override is None for finding in told.findings)


# Outliers, and updates that were too large before anything else happened ---------------------


def test_a_batch_is_to_blame_only_if_nothing_announced_it():
    outlier = Spike(
        30, "hidden2", 900.0, loss_before=2.0, loss_after=9.0, loss_at=60.0, loss_next=50.0,
        loss_previous=2.1, factor_at=900.0, factor_previous=1.2,
    )  # fmt: skip
    announced = [
        replace(outlier, factor_previous=20.0),
        replace(outlier, loss_previous=9.0),
        replace(outlier, factor_at=12.0),
    ]
    assert outlier.is_of_the_batch
    assert not any(one.is_of_the_batch for one in announced)
    assert not replace(outlier, loss_at=3.0).is_of_the_batch
    # A norm that is not far too large is enough if the batches after it are as before.
    assert [replace(one, loss_next=2.0).is_of_the_batch for one in announced] == [
        False,
        False,
        True,
    ]


def test_of_a_loss_below_zero_no_multiple_means_anything():
    below = Spike(
        30, "hidden2", 900.0, loss_before=-2.0, loss_after=-1.9, loss_at=-1.0, loss_next=-1.9,
        loss_previous=-2.0, factor_at=900.0, factor_previous=1.2,
    )  # fmt: skip
    losses = np.linspace(0.3, -2.3, 40)
    assert codes(evidence([1.0, 1.0], spikes=(below,), losses=losses)) == ["healthy"]


def test_a_spike_knows_what_came_right_before_it():
    norms = np.ones((80, 1))
    losses = np.full(80, 2.0)
    norms[49:52, 0] = [3.0, 60.0, 500.0]
    losses[49:52] = [2.5, 40.0, 7.0]
    (spike,) = find_spikes(steps_of(norms, losses=losses), network(1))
    assert (spike.step, spike.factor) == (51, 500.0)
    assert (spike.factor_at, spike.factor_previous) == (60.0, 3.0)
    assert (spike.loss_at, spike.loss_previous, spike.loss_next) == (40.0, 2.5, 2.0)


@pytest.mark.parametrize(
    ("heights", "count"),
    [
        ([1.0] * 60, 0),
        (list(np.linspace(1.0, 0.1, 12)) * 5, 4),  # five classes, one after the other
        (list(np.linspace(1.0, 0.95, 12)) * 5, 0),
        (list(np.linspace(0.7, 0.1, 12)) * 5, 0),  # never worse than guessing again
    ],
)
def test_blocks_of_one_class_are_counted(heights, count):
    assert len(block_starts(np.array(heights) + 0.05)) == count


def test_a_loss_that_goes_up_and_down_by_chance_has_no_blocks():
    losses = np.random.default_rng(0).normal(0.9, 0.3, 2000).clip(0.1)
    assert len(block_starts(losses)) < 3


def test_a_spike_that_a_training_has_passed_is_no_fault():
    lasting = Spike(20, "hidden2", 40.0, loss_before=0.5, loss_after=2.0)
    passed = replace(lasting, loss_before=1.5, loss_after=3.0)
    assert codes(evidence([1.0, 1.0], spikes=(lasting,))) == ["spike"]
    assert codes(evidence([1.0, 1.0], spikes=(passed,))) == ["healthy"]  # the loss ends at 0.7


def test_remarks_follow_from_remarks_and_claim_no_certainty():
    well = np.geomspace(30.0, 0.02, 40)
    found = diagnose(evidence([1.0, 1.0, 1.0], weights=[1e5, 1.0, 0.5], losses=well))
    assert [(one.code, one.follows_from) for one in found] == [
        ("initial-scale", None), ("healthy", None), ("exploding", "initial-scale"),
    ]  # fmt: skip
    assert [math.isnan(one.certainty) for one in found] == [True, False, True]
    assert found[2].override is None
