"""Layers that no update moves: what is said of each way to come to that."""

from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis.limits import SILENT_STEPS
from gradcli.diagnosis.rules import updates
from gradcli.records import LayerInfo, ParameterGroup, ParameterInfo

ALL = tuple(range(6))
STILL = np.full((5, 3), 9.5)


def not_updated(evidence):
    return list(updates.not_updated(evidence))


def test_layers_that_move_are_no_matter(run_evidence, setup_record):
    assert not not_updated(run_evidence(setup=setup_record()))
    assert not not_updated(run_evidence())


# Layers that are replaced -------------------------------------------------------------------


@pytest.mark.parametrize("since", [1, 2, 41])
def test_layers_that_are_replaced_midway(run_evidence, setup_record, since):
    norms = np.ones((100, 3))
    norms[since - 1 :, 1] = 0
    norms[10:, 0] = 0  # another one
    (found,) = not_updated(run_evidence(setup=setup_record(replaced=(1, 2)), norms=norms))
    assert (found.code, found.severity, found.layer) == ("not-updated", "error", "middle")
    dated = since > 1
    assert found.message.startswith(
        (f"From step {since} on " if dated else "Midway ")
        + "the model has new parameters in middle and last, which the optimizer does not hold"
    )
    assert found.evidence == {"layers": 2, **({"since_step": since} if dated else {})}
    assert found.mend.startswith("After middle is replaced")


def test_of_layers_replaced_at_several_steps_the_first_step_is_told(run_evidence, setup_record):
    norms = np.ones((100, 3))
    norms[40:, 0] = norms[30:, 1] = norms[50:, 2] = 0
    (found,) = not_updated(run_evidence(setup=setup_record(replaced=(0, 1, 2)), norms=norms))
    assert found.message.startswith("From step 31 on the model has new parameters in 3 layers, ")


# Updates that are not made any more ---------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "per_update", "found"),
    [
        (int(SILENT_STEPS.value), 1, 1),
        (int(SILENT_STEPS.value) - 1, 1, 0),
        (40, 19, 1),
        (40, 20, 0),
        (0, 1, 0),
    ],
)
def test_losses_without_updates_after_them(run_evidence, setup_record, calls, per_update, found):
    evidence = run_evidence(setup=setup_record(), own_loop=True)
    evidence = replace(evidence, calls_since_update=calls, calls_per_update=per_update)
    told = not_updated(evidence)
    assert len(told) == found
    for one in told:
        assert (one.code, one.severity, one.layer) == ("not-updated", "warning", None)
        assert one.evidence == {"last_update": 100, "calls_since": calls}
        assert f"After update 100 monitor.step(loss) was called {calls} times" in one.message


# Layers that updates moved at first ---------------------------------------------------------


def standing(run_evidence, setup_record, groups, still=(1,), norms=None, **more):
    """Measured at steps 1, 2, 3, 5 and 10; the last two updates did not move `still`."""
    ratios = np.full((5, 3), 0.01)
    ratios[3:, list(still)] = 0.0
    count = more.pop("count", 30)
    return run_evidence(
        setup=setup_record(groups=groups, **more),
        ratios=ratios,
        losses=np.linspace(2.3, 2.0, count),
        norms=norms,
    )


def test_a_layer_that_is_no_longer_moved_at_a_rate_of_zero(run_evidence, setup_record):
    groups = (ParameterGroup((0, 1, 4, 5), 0.1), ParameterGroup((2, 3), 0.0))
    (found,) = not_updated(standing(run_evidence, setup_record, groups))
    assert (found.code, found.severity, found.layer) == ("not-updated", "error", "middle")
    assert found.message == (
        "From step 5 on, if not before, no update moves middle: the learning rate is 0."
    )
    assert found.evidence == {"layers": 1, "since_step": 5, "update_ratio": 0.0}
    assert found.mend == "Keep the learning rate of middle above 0, or end the training there."


def test_everything_stands_still(run_evidence, setup_record):
    none = (ParameterGroup(ALL, 0.0),)
    (found,) = not_updated(standing(run_evidence, setup_record, none, still=(0, 1, 2)))
    assert found.layer is None
    assert found.message.endswith("no update moves any weight: the learning rate is 0.")
    assert found.mend == "Keep the learning rate above 0, or end the training there."
    assert found.evidence["layers"] == 3


def test_what_is_frozen_or_has_no_gradient_any_more_is_aside(run_evidence, setup_record):
    groups = (ParameterGroup((0, 1, 4, 5), 0.1), ParameterGroup((2, 3), 0.0))
    norms = np.ones((30, 3))
    norms[-1, 1] = 0.0
    assert not not_updated(standing(run_evidence, setup_record, groups, norms=norms))
    frozen = (True, True, False, False, True, True)
    assert not not_updated(standing(run_evidence, setup_record, groups, requires_grad=frozen))
    elsewhere = (ParameterGroup((0, 1, 4, 5), 0.1),)
    assert not not_updated(standing(run_evidence, setup_record, elsewhere))
    still_held = (ParameterGroup(ALL, 0.1),)
    assert not not_updated(standing(run_evidence, setup_record, still_held))
    # Of all but a frozen layer it is everything that stands still.
    frozen = (False, False, *(True,) * 4)
    groups = (ParameterGroup(ALL, 0.0),)
    evidence = standing(run_evidence, setup_record, groups, still=(1, 2), requires_grad=frozen)
    (found,) = not_updated(evidence)
    assert (found.layer, found.evidence["layers"]) == (None, 2)


def test_the_first_step_of_several_layers_is_told(run_evidence, setup_record):
    ratios = np.full((5, 3), 0.01)
    ratios[3:, 0] = ratios[2:, 1] = 0.0
    groups = (ParameterGroup((4, 5), 0.1), ParameterGroup((0, 1, 2, 3), 0.0))
    evidence = run_evidence(setup=setup_record(groups=groups), ratios=ratios)
    (found,) = not_updated(evidence)
    assert (found.layer, found.evidence["since_step"]) == ("first", 3)
    assert "no update moves first and middle: the learning rate" in found.message


# Layers that no update ever moved -----------------------------------------------------------


def never(run_evidence, setup_record, still, groups, *, norms=None, weights=STILL, **more):
    ratios = [0.0 if at in still else 0.01 for at in range(3)]
    setup = setup_record(groups=groups) if groups is not None else None
    return run_evidence(setup=setup, ratios=ratios, norms=norms, weights=weights, **more)


def test_a_layer_that_is_not_held(run_evidence, setup_record):
    (found,) = not_updated(
        never(run_evidence, setup_record, (1,), (ParameterGroup((0, 1, 4, 5), 0.1),))
    )
    assert (found.code, found.severity, found.layer) == ("not-updated", "error", "middle")
    assert found.evidence == {"layers": 1, "update_ratio": 0.0, "measured": 5}
    assert found.message == (
        "middle gets a gradient at every step, but no update moves it: the optimizer does not "
        "hold the parameters."
    )
    assert found.mend.startswith("Pass the parameters of middle to the optimizer;")
    assert found.override is None


def test_a_layer_whose_group_has_a_rate_of_zero(run_evidence, setup_record):
    groups = (ParameterGroup((2, 3, 4, 5), 0.0), ParameterGroup((0, 1), 0.1))
    (found,) = not_updated(never(run_evidence, setup_record, (1, 2), groups))
    assert found.message == (
        "middle and last get a gradient at every step, but no update moves them: the learning "
        "rate of the parameter group is 0."
    )
    assert found.mend == "Give the parameter group of middle and last a learning rate above 0."
    assert found.override is None


@pytest.mark.parametrize(
    ("groups", "learning_rate", "cause", "override"),
    [
        ((ParameterGroup(ALL, 0.0),), 0.1, "the learning rate is 0.", "optimizer.lr=0.001"),
        ((), 0.1, "the optimizer changes nothing.", None),
        (None, 0.0, "the learning rate is 0.", "optimizer.lr=0.001"),
        (None, 0.1, "the optimizer changes nothing.", None),
    ],
)
def test_no_weight_moves_at_all(run_evidence, setup_record, groups, learning_rate, cause, override):
    evidence = never(run_evidence, setup_record, (0, 1, 2), groups, learning_rate=learning_rate)
    (found,) = not_updated(evidence)
    assert (found.layer, found.override) == (None, override)
    assert found.message == f"No update moves any weight: {cause}"
    assert found.evidence["layers"] == 3
    assert found.mend.startswith("Give the optimizer a learning rate above 0")


@pytest.mark.parametrize("groups", [(ParameterGroup((0, 1, 4, 5), 0.1),), None])
def test_what_no_update_moves_may_move_otherwise_or_need_not(run_evidence, setup_record, groups):
    moved = np.linspace(9, 10, 5)[:, None] * np.ones(3)
    for changes in (
        {"weights": moved},
        {"norms": (1, 0, 1)},
        {"still": ()},
    ):
        given = {"still": (1,), "groups": groups, **changes}
        assert not not_updated(never(run_evidence, setup_record, **given))


def test_an_update_that_rounds_to_nothing_in_a_layer_that_is_held(run_evidence, setup_record):
    held = (ParameterGroup(ALL, 0.1),)
    assert not not_updated(never(run_evidence, setup_record, (1,), held))


def test_a_gradient_at_one_step_is_enough_to_be_missed(run_evidence, setup_record):
    norms = np.ones((100, 3))
    norms[1:, 1] = 0
    groups = (ParameterGroup((0, 1, 4, 5), 0.1),)
    assert not_updated(never(run_evidence, setup_record, (1,), groups, norms=norms))


@pytest.mark.parametrize("missing", ["update_ratios", "norms"])
def test_without_measurements_nothing_is_known(run_evidence, setup_record, missing):
    evidence = never(run_evidence, setup_record, (1,), (ParameterGroup((0, 1, 4, 5), 0.1),))
    assert not_updated(evidence)
    assert not not_updated(replace(evidence, **{missing: getattr(evidence, missing)[:0]}))


def test_a_layer_without_a_matrix_that_is_not_held_is_named_beside(run_evidence, setup_record):
    norm_layer = LayerInfo("norm", "LayerNorm", 3, (ParameterInfo("norm.weight", (16,)),))
    evidence = never(run_evidence, setup_record, (), (ParameterGroup(ALL, 0.1),))
    info = replace(evidence.info, layers=(*evidence.layers, norm_layer))
    setup = replace(evidence.setup, requires_grad=(True,) * 7)
    evidence = replace(evidence, info=info, setup=setup, still_elsewhere=("norm",))
    (found,) = not_updated(evidence)
    assert (found.layer, found.evidence["layers"]) == ("norm", 1)
    assert found.message.startswith("norm gets a gradient at every step, but no update moves it")
    still = replace(evidence, update_ratios=np.zeros((5, 3)), setup=replace(setup, groups=()))
    (found,) = not_updated(still)
    assert (found.layer, found.evidence["layers"]) == (None, 3)
    of_three = replace(
        evidence,
        update_ratios=np.array([[0.0, 0.0, 0.01]] * 5),
        setup=replace(setup, groups=(ParameterGroup((4, 5), 0.1),)),
    )
    (found,) = not_updated(of_three)
    assert "the parameters of these 3 layers to the optimizer" in found.mend
    assert found.message.startswith("3 layers, first to norm, get a gradient")


# Gradients that are gone before the update --------------------------------------------------


def test_gradients_that_are_cleared_before_the_update(run_evidence, setup_record):
    held = (ParameterGroup(ALL, 0.1),)
    evidence = never(run_evidence, setup_record, (1,), held)
    (found,) = not_updated(replace(evidence, gone_before_update=(False, True, False)))
    assert (found.code, found.severity, found.layer) == ("not-updated", "error", "middle")
    assert found.message == (
        "No update moves middle: the gradients that loss.backward() made for it are gone, or 0, "
        "when optimizer.step() runs."
    )
    assert found.evidence == {"layers": 1, "update_ratio": 0.0, "measured": 5}
    assert found.override is None
    assert not not_updated(replace(evidence, gone_before_update=(True, False, True)))


def test_gradients_that_nobody_watched_are_not_called_cleared(run_evidence, setup_record):
    """A layer that the optimizer does not hold, where it is unknown what was gone."""
    groups = (ParameterGroup((0, 1, 4, 5), 0.1),)
    evidence = never(run_evidence, setup_record, (1,), groups)
    (found,) = not_updated(replace(evidence, gone_before_update=()))
    assert "the optimizer does not hold the parameters" in found.message


@pytest.mark.parametrize("frozen", [False, True])
def test_all_gradients_are_cleared_before_the_update(run_evidence, setup_record, frozen):
    evidence = never(run_evidence, setup_record, (0, 1, 2), (ParameterGroup(ALL, 0.1),))
    if frozen:  # then the others are all
        requires_grad = (False, False, True, True, True, True)
        evidence = replace(evidence, setup=setup_record(requires_grad=requires_grad))
    (found,) = not_updated(replace(evidence, gone_before_update=(True, True, True)))
    assert found.layer is None
    assert found.message.startswith("No update moves any weight: the gradients that loss.backward")
    assert "made are gone" in found.message
    assert found.evidence["layers"] == (2 if frozen else 3)


def test_a_rate_is_zero_if_that_of_every_group_that_holds_the_layer_is(run_evidence, setup_record):
    weight = ParameterGroup((2,), 0.0)
    others = (ParameterGroup((0, 1), 0.1), ParameterGroup((4,), 0.1))
    (found,) = not_updated(never(run_evidence, setup_record, (1,), (weight, *others)))
    assert "the learning rate of the parameter group is 0" in found.message
    bias = ParameterGroup((3,), 0.1)
    frozen_bias = never(run_evidence, setup_record, (1,), (weight, bias, *others))
    assert not not_updated(frozen_bias)
