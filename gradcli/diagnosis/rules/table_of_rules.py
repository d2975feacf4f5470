"""The table of rules: what each tests for, what it takes, and which findings explain which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.rules import (
    batch_noise,
    broken,
    data,
    flow,
    needs,
    no_progress,
    optimizer,
    starting_point,
    step_size,
    time_steps,
    updates,
    wiring,
)
from gradcli.records import Finding


@dataclass(frozen=True, slots=True)
class Rule:
    """From evidence to findings.

    A rule is a generator without side effects. It yields a finding for each layer, or block of
    layers, that is wrong, and nothing if all is well. The numbers that its message names are in the
    finding's `evidence`, its `threshold` names the limit, from `limits`, and `override` is complete
    or None; see `remedies`.

    It may assume that `missing` returned an empty string, and no more than that: norms may be zero
    or NaN, there may be one layer, and a loop of the user's own has no model, activation or config.
    """

    codes: tuple[str, ...]
    """Those that `find` tests for by itself."""
    find: Callable[[Evidence], Iterator[Finding]]
    missing: Callable[[Evidence], str]
    """What it would take to apply the rule; empty if it can be applied."""
    unless: tuple[str, ...] = ()
    """The findings that explain what this rule would find; if there is one, it is not applied."""


_STARTS_WRONG = ("unscaled-inputs", "initial-scale", "loss-scale")
_STEPS_WRONG = ("weight-decay-too-strong", "momentum-too-high", "lr-too-high", "not-cleared")
# Each explains a loss that does not fall.
_NO_PROGRESS = (
    *("non-finite", "wrong-gradient", "no-gradient", "dead-units", "saturated"),
    *("vanishing", "exploding", "spike", "lr-too-low", "always-clipped", "data-order"),
    *("noise-dominated", "batch-norm-mode", "softmax-before-loss", "not-updated"),
    *("dropout-too-high", "bad-batch", "epsilon-too-large", *_STARTS_WRONG, *_STEPS_WRONG),
)

#: In the order in which they are applied: causes before what follows from them. The findings in
#: `unless` explain the rest: if no gradient arrives, a loss that does not fall is not a plateau,
#: and if training has killed units, the model is not at fault.
RULES = (
    Rule(("wrong-gradient",), broken.wrong_gradient, needs.check),
    Rule(("not-cleared",), wiring.not_cleared, needs.observed),
    Rule(("batch-norm-mode",), wiring.batch_norm_mode, needs.observed),
    Rule(("softmax-before-loss",), wiring.softmax_before_loss, needs.observed),
    Rule(("loss-scale",), wiring.loss_scale, needs.observed),
    # Part of the test for labels, which takes updates.
    Rule((), wiring.broadcast_targets, needs.observed),
    Rule(("not-updated",), updates.not_updated, needs.updates),
    Rule(("frozen",), wiring.frozen, needs.gradients),
    Rule(("unscaled-inputs",), starting_point.unscaled_inputs, needs.setup),
    # Part of the test for unscaled inputs.
    Rule((), starting_point.constant_inputs, needs.setup),
    Rule(("dropout-too-high",), wiring.dropout_too_high, needs.observed),
    Rule(
        ("initial-scale",), starting_point.initial_scale, needs.start, unless=("unscaled-inputs",)
    ),
    Rule((), starting_point.identical_units, needs.observed, unless=("initial-scale",)),
    Rule((), starting_point.zero_weights, needs.observed, unless=("initial-scale",)),
    Rule(
        ("weight-decay-too-strong",),
        optimizer.weight_decay_too_strong,
        needs.observed,
        unless=_STARTS_WRONG,
    ),
    Rule(
        ("momentum-too-high",),
        optimizer.momentum_too_high,
        needs.setup_and_steps,
        unless=(*_STARTS_WRONG, "weight-decay-too-strong", "not-cleared"),
    ),
    Rule(
        ("epsilon-too-large",),
        optimizer.epsilon_too_large,
        needs.setup_and_steps,
        unless=_STARTS_WRONG,
    ),
    Rule(("data-order",), data.data_order, needs.steps),
    # Part of the test for labels, which takes updates.
    Rule((), data.one_class, needs.observed, unless=("data-order",)),
    Rule((), no_progress.constant_targets, needs.steps),
    # Part of the test for saturated units, which takes a probe of the activations.
    Rule((), no_progress.targets_out_of_reach, needs.setup),
    # Part of the test for the loss's scale.
    Rule((), no_progress.unscaled_targets, needs.gradients, unless=_STARTS_WRONG),
    # Part of the test for wrong gradients, which takes a check.
    Rule(
        (),
        broken.backward_by_hand,
        needs.updates,
        unless=(
            *("wrong-gradient", "data-order", "batch-norm-mode", "softmax-before-loss"),
            *("not-updated", "dropout-too-high", "epsilon-too-large", *_STARTS_WRONG),
            *("weight-decay-too-strong", "momentum-too-high", "not-cleared"),
        ),
    ),
    Rule(
        ("spike", "bad-batch"),
        data.spike,
        needs.steps,
        unless=("data-order", "wrong-gradient", "unscaled-inputs", "dropout-too-high"),
    ),
    Rule(
        ("lr-too-high",),
        step_size.learning_rate_too_high,
        needs.updates_or_fault,
        unless=(
            *_STARTS_WRONG,
            *("spike", "bad-batch", "weight-decay-too-strong", "momentum-too-high"),
            *("not-cleared", "data-order", "wrong-gradient", "dropout-too-high"),
        ),
    ),
    Rule(("non-finite",), broken.non_finite, needs.gradients),
    Rule(("no-gradient",), flow.no_gradient, needs.gradients, unless=("not-updated",)),
    Rule((), time_steps.cut_through_time, needs.observed, unless=("no-gradient",)),
    # Part of the test for dead units, which takes a probe of the activations as well.
    Rule((), flow.fell_silent, needs.steps),
    Rule(("dead-units",), flow.dead_units, needs.activations, unless=("dead-units",)),
    Rule(("saturated",), flow.saturated, needs.activations),
    Rule(("vanishing", "exploding"), flow.vanishing_or_exploding, needs.gradients),
    Rule(
        ("always-clipped",),
        step_size.always_clipped,
        needs.steps,
        unless=("exploding", "saturated"),
    ),
    Rule(
        ("lr-too-low",),
        step_size.learning_rate_too_low,
        needs.updates,
        unless=(
            *("vanishing", "exploding", "no-gradient", "always-clipped", "not-updated"),
            *("epsilon-too-large", "dead-units", *_STARTS_WRONG, *_STEPS_WRONG),
        ),
    ),
    Rule(
        ("noise-dominated",),
        batch_noise.noise_dominated,
        needs.noise,
        unless=(
            *("vanishing", "exploding", "saturated", "spike", "bad-batch", "data-order"),
            "dropout-too-high",
            *_STARTS_WRONG,
            *_STEPS_WRONG,
        ),
    ),
    Rule(("labels",), data.labels, needs.updates, unless=_NO_PROGRESS),
    Rule((), no_progress.memorised, needs.updates, unless=(*_NO_PROGRESS, "labels")),
    Rule(("plateau",), no_progress.plateau, needs.steps, unless=(*_NO_PROGRESS, "labels")),
)

#: What follows from what, if both are found: the causes of a symptom, the likeliest first.
_CAUSES = (
    "not-cleared",
    "unscaled-inputs",
    "initial-scale",
    "loss-scale",
    "weight-decay-too-strong",
    "momentum-too-high",
    "lr-too-high",
)
EXPLAINED_BY: dict[str, tuple[str, ...]] = {
    "non-finite": (*_CAUSES, "wrong-gradient", "exploding", "spike", "bad-batch", "data-order"),
    "spike": _CAUSES,
    "dead-units": (
        *_CAUSES,
        "wrong-gradient",
        "softmax-before-loss",
        "exploding",
        "spike",
        "bad-batch",
    ),
    "no-gradient": (
        *("softmax-before-loss", "unscaled-inputs", "initial-scale", "weight-decay-too-strong"),
        *("lr-too-high", "dead-units"),
    ),
    "saturated": (*_CAUSES, "wrong-gradient", "exploding"),
    "vanishing": (*_CAUSES, "saturated", "softmax-before-loss", "batch-norm-mode"),
    "exploding": ("unscaled-inputs", "initial-scale", "loss-scale", "lr-too-high"),
    "always-clipped": ("unscaled-inputs", "initial-scale", "loss-scale", "lr-too-high"),
    "noise-dominated": ("batch-norm-mode", "labels"),
    "lr-too-high": ("not-cleared", "softmax-before-loss", "unscaled-inputs", "initial-scale"),
}
