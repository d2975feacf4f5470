"""The table of rules, and `diagnose`, which applies it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from gradcli.diagnosis import (
    broken,
    data_rules,
    flow,
    optimizer_settings,
    remedies,
    starting_point,
    step_size,
    wiring,
)
from gradcli.diagnosis.calibration import with_certainty
from gradcli.diagnosis.evidence import Evidence, nanmedian
from gradcli.diagnosis.limits import LOSS_KEPT
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.notation import numbers
from gradcli.notation.layer_names import named
from gradcli.records import Finding

_SEVERITIES = ("error", "warning", "info")


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


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the rules found, and which of them could be applied."""

    findings: tuple[Finding, ...]
    """Errors first; `healthy` if nothing is wrong and something was tested."""
    tested: tuple[str, ...]
    """The codes of the rules that were applied."""
    not_tested: dict[str, str]
    """The codes of the others, each with what it would take to apply them."""


def _gradients(evidence: Evidence) -> str:
    return "" if len(evidence.norms) or evidence.fault else "a step, or a model to probe"


def _steps(evidence: Evidence) -> str:
    return "" if evidence.steps >= FEWEST_STEPS else f"a run of {FEWEST_STEPS} steps or more"


def _updates(evidence: Evidence) -> str:
    if np.isfinite(evidence.update_ratios).any():
        return _steps(evidence)
    own_loop = evidence.info.is_own_loop
    setting = "GradientMonitor(every=...)" if own_loop else "monitor.every"
    return _steps(evidence) or f"a run with {setting} above 0"


def _updates_or_fault(evidence: Evidence) -> str:
    known = np.isfinite(evidence.update_ratios).any()
    return "" if evidence.fault is not None and known else _updates(evidence)


# A run in the user's own loop does not store its model, so it cannot be probed.
_NEEDS_MODEL = "the model, which is not stored with a run of your own loop"


def _activations(evidence: Evidence) -> str:
    if evidence.probed is not None:
        return ""
    if evidence.info.is_own_loop:
        return _NEEDS_MODEL
    return "a probe of the activations: --probe signals"


def _noise(evidence: Evidence) -> str:
    if evidence.probed is not None and evidence.probed.noise_scale is not None:
        return ""
    if evidence.info.is_own_loop:
        return _steps(evidence)
    return _steps(evidence) and f"{_steps(evidence)}, or --probe noise"


def _check(evidence: Evidence) -> str:
    if evidence.probed is not None and evidence.probed.wrong_gradients is not None:
        return ""
    return _NEEDS_MODEL if evidence.info.is_own_loop else "--check"


def _setup(evidence: Evidence) -> str:
    if evidence.setup is not None:
        return ""
    return "a run that a newer gradcli recorded"


def _observed(evidence: Evidence) -> str:
    if evidence.steps < 2 and evidence.fault is None:
        return "a run: only its steps show how it is set up"
    return _setup(evidence)


def _setup_and_steps(evidence: Evidence) -> str:
    return _observed(evidence) or _updates(evidence)


def _start(evidence: Evidence) -> str:
    return "" if np.isfinite(evidence.weights).any() else "the weights of the first step"


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
    Rule(("wrong-gradient",), broken.wrong_gradient, _check),
    Rule(("not-cleared",), wiring.not_cleared, _observed),
    Rule(("batch-norm-mode",), wiring.batch_norm_mode, _observed),
    Rule(("softmax-before-loss",), wiring.softmax_before_loss, _observed),
    Rule(("loss-scale",), wiring.loss_scale, _observed),
    Rule(("not-updated",), optimizer_settings.not_updated, _updates),
    Rule(("frozen",), wiring.frozen, _gradients),
    Rule(("unscaled-inputs",), starting_point.unscaled_inputs, _setup),
    Rule(("dropout-too-high",), wiring.dropout_too_high, _observed),
    Rule(("initial-scale",), starting_point.initial_scale, _start, unless=("unscaled-inputs",)),
    Rule((), starting_point.identical_units, _observed, unless=("initial-scale",)),
    Rule(
        ("weight-decay-too-strong",),
        optimizer_settings.weight_decay_too_strong,
        _observed,
        unless=_STARTS_WRONG,
    ),
    Rule(
        ("momentum-too-high",),
        optimizer_settings.momentum_too_high,
        _setup_and_steps,
        unless=(*_STARTS_WRONG, "weight-decay-too-strong", "not-cleared"),
    ),
    Rule(
        ("epsilon-too-large",),
        optimizer_settings.epsilon_too_large,
        _setup_and_steps,
        unless=_STARTS_WRONG,
    ),
    Rule(("data-order",), data_rules.data_order, _steps),
    # Part of the test for wrong gradients, which takes a check.
    Rule(
        (),
        broken.backward_by_hand,
        _updates,
        unless=(
            *("wrong-gradient", "data-order", "batch-norm-mode", "softmax-before-loss"),
            *("not-updated", "dropout-too-high", "epsilon-too-large", *_STARTS_WRONG),
            *("weight-decay-too-strong", "momentum-too-high", "not-cleared"),
        ),
    ),
    Rule(
        ("spike", "bad-batch"),
        data_rules.spike,
        _steps,
        unless=("data-order", "wrong-gradient", "unscaled-inputs", "dropout-too-high"),
    ),
    Rule(
        ("lr-too-high",),
        step_size.learning_rate_too_high,
        _updates_or_fault,
        unless=(
            *_STARTS_WRONG,
            *("spike", "bad-batch", "weight-decay-too-strong", "momentum-too-high"),
            *("not-cleared", "data-order", "wrong-gradient", "dropout-too-high"),
        ),
    ),
    Rule(("non-finite",), broken.non_finite, _gradients),
    Rule(("no-gradient",), flow.no_gradient, _gradients, unless=("not-updated",)),
    # Part of the test for dead units, which takes a probe of the activations as well.
    Rule((), flow.fell_silent, _steps),
    Rule(("dead-units",), flow.dead_units, _activations, unless=("dead-units",)),
    Rule(("saturated",), flow.saturated, _activations),
    Rule(("vanishing", "exploding"), flow.vanishing_or_exploding, _gradients),
    Rule(("always-clipped",), step_size.always_clipped, _steps, unless=("exploding", "saturated")),
    Rule(
        ("lr-too-low",),
        step_size.learning_rate_too_low,
        _updates,
        unless=(
            *("vanishing", "exploding", "no-gradient", "always-clipped", "not-updated"),
            *("epsilon-too-large", "dead-units", *_STARTS_WRONG, *_STEPS_WRONG),
        ),
    ),
    Rule(
        ("noise-dominated",),
        step_size.noise_dominated,
        _noise,
        unless=(
            *("vanishing", "exploding", "saturated", "spike", "bad-batch", "data-order"),
            "dropout-too-high",
            *_STARTS_WRONG,
            *_STEPS_WRONG,
        ),
    ),
    Rule(("labels",), data_rules.labels, _updates, unless=_NO_PROGRESS),
    Rule(("plateau",), step_size.plateau, _steps, unless=(*_NO_PROGRESS, "labels")),
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
    "dead-units": (*_CAUSES, "softmax-before-loss", "exploding", "spike", "bad-batch"),
    "no-gradient": (
        *("softmax-before-loss", "initial-scale", "weight-decay-too-strong", "lr-too-high"),
        "dead-units",
    ),
    "saturated": (*_CAUSES, "exploding"),
    "vanishing": (*_CAUSES, "saturated", "softmax-before-loss", "batch-norm-mode"),
    "exploding": ("unscaled-inputs", "initial-scale", "loss-scale", "lr-too-high"),
    "always-clipped": ("unscaled-inputs", "initial-scale", "loss-scale", "lr-too-high"),
    "noise-dominated": ("batch-norm-mode", "labels"),
    "lr-too-high": ("not-cleared", "softmax-before-loss", "unscaled-inputs", "initial-scale"),
}


def diagnose(evidence: Evidence) -> tuple[Finding, ...]:
    """Return what the rules find, errors first; `healthy` only if that was tested."""
    return examine(evidence).findings


def examine(evidence: Evidence) -> Diagnosis:
    """Apply every rule that can be applied."""
    findings: list[Finding] = []
    tested: list[str] = []
    not_tested: dict[str, str] = {}
    for rule in RULES:
        missing = rule.missing(evidence)
        if missing:
            not_tested.update(dict.fromkeys(rule.codes, missing))
            continue
        tested += rule.codes
        explained = {finding.code for finding in findings if finding.severity != "info"}
        if not explained.intersection(rule.unless):
            findings += rule.find(evidence)
    if all(finding.severity == "info" for finding in findings) and _enough(evidence):
        findings.append(
            _healthy(evidence, tested) or _not_yet_learned(evidence) or _undetermined(evidence)
        )
    if evidence.info.is_own_loop:  # it has no config, and so no override
        findings = [replace(finding, override=None) for finding in findings]
    return Diagnosis(tuple(with_certainty(_ranked(findings))), tuple(tested), not_tested)


def _ranked(findings: list[Finding]) -> list[Finding]:
    """Order the findings: causes first, by severity; each followed by what follows from it."""
    serious = {finding.code for finding in findings if finding.severity != "info"}
    remarks = {finding.code for finding in findings}
    explained = []
    for finding in findings:
        # A remark may follow from another remark, but nothing serious does.
        causes = remarks if finding.severity == "info" else serious
        cause = next((code for code in EXPLAINED_BY.get(finding.code, ()) if code in causes), None)
        explained.append(finding if cause is None else _beneath(finding, cause))

    def rank(finding: Finding) -> tuple[bool, int]:
        return finding.follows_from is not None, _SEVERITIES.index(finding.severity)

    return sorted(explained, key=rank)


def _beneath(finding: Finding, cause: str) -> Finding:
    """Return a finding as what follows from `cause`, whose advice is the one to take."""
    return replace(finding, follows_from=cause, override=None, mend="")


def _enough(evidence: Evidence) -> bool:
    """Whether enough was seen to call it healthy: a run with updates, or a probed model."""
    return not _updates(evidence) or (not _activations(evidence) and not _gradients(evidence))


def _healthy(evidence: Evidence, tested: list[str]) -> Finding | None:
    """Return that all is well; None if a trained layer gets no gradient, or is not moved."""
    aside = np.array(evidence.frozen) | np.array(evidence.not_this_optimizers)
    still = ~evidence.moved_by_updates | (evidence.still_since > 0)
    if any(_silent_in_the_end(evidence)) or (still & ~aside).any():
        return None
    has_not_fallen = evidence.loss_kept > LOSS_KEPT.value and not evidence.comes_from_high
    if evidence.is_long_enough and evidence.should_fall and has_not_fallen:
        return None
    # A layer that was frozen at first has no gradient in most steps.
    norms = np.where(evidence.norms > 0, evidence.norms, np.nan)[:, ~aside]
    relative = nanmedian(norms) / np.where(evidence.weights > 0, evidence.weights, np.nan)[~aside]
    known = relative[np.isfinite(relative)]
    spread = float(known.min() / known.max()) if len(known) and known.max() > 0 else 1.0
    facts: dict[str, float | int | str] = {"smallest_to_largest_layer": spread}
    updates = "Only a run can show how training goes."
    if not _updates(evidence):
        ratio = float(np.nanmax(evidence.usual_update_ratios))
        facts["median_update_ratio"] = ratio
        updates = (
            f"The median update changes no layer's weights by more than {numbers.norm(ratio)} "
            "times their norm."
        )
    every = "every trained layer" if aside.any() else "every layer"
    return Finding(
        code="healthy",
        severity="info",
        layer=None,
        evidence=facts,
        threshold=f"none of: {', '.join(dict.fromkeys(tested))}",
        message=f"Gradients reach {every}: relative to the weights, the smallest is "
        f"{numbers.norm(spread)} times the largest. {updates}",
        override=None,
    )


def _not_yet_learned(evidence: Evidence) -> Finding | None:
    """Return that the loss has hardly fallen so far, if that is all there is to say."""
    if evidence.convergence.trend != "falling" or not evidence.loss_kept > LOSS_KEPT.value:
        return None
    first, last = evidence.convergence.first_loss, evidence.convergence.last_loss
    return Finding(
        code="undetermined",
        severity="info",
        layer=None,
        evidence={"first_loss": first, "last_loss": last, "steps": evidence.steps},
        threshold=f"a loss that falls beyond chance, but is above {LOSS_KEPT} of the first one",
        message=f"Not sure: the loss falls, but in {evidence.steps} steps it only went from "
        f"{numbers.norm(first)} to {numbers.norm(last)}. More steps would tell whether it is slow "
        "or stuck.",
        override=remedies.longer_training(evidence),
        mend="Train for four times as many steps.",
    )


def _undetermined(evidence: Evidence) -> Finding:
    """Return that something may be wrong, and what would tell."""
    silent = np.flatnonzero(_silent_in_the_end(evidence))
    names = [evidence.layers[place].name for place in silent]
    since = {int(evidence.silent_since[place]) for place in silent if len(evidence.silent_since)}
    when = f"from step {since.pop()} on " if len(since) == 1 else "over the last part of the run "
    seen = (
        f"{when}{named(names)} got no gradient"
        if names
        else "a trained layer was not moved over the last part of the run"
    )
    how = (
        " If that is not meant, look at what changed there: a part of the loss that ended, "
        "detach(), torch.no_grad(), or a module that was replaced."
        if names and evidence.info.is_own_loop
        else " GradientMonitor(every=1) for a few steps shows whether its weights move."
        if evidence.info.is_own_loop
        else " A probe of the model tells more: --probe signals."
    )
    return Finding(
        code="undetermined",
        severity="info",
        layer=names[0] if len(names) == 1 else None,
        evidence={"layers": len(names)} if names else {},
        threshold="a trained layer without gradient, or not moved, in the last tenth of the steps",
        message=f"Not sure: {seen}, and no rule explains it.{how}",
        override=None,
    )


def _silent_in_the_end(evidence: Evidence) -> list[bool]:
    """Tell of each trained layer whether it has no gradient in the last tenth of the steps."""
    aside = np.array(evidence.frozen) | np.array(evidence.not_this_optimizers)
    last_norms = evidence.norms[len(evidence.norms) * 9 // 10 :]
    silent: list[bool] = ((last_norms == 0).all(axis=0) & ~aside).tolist()
    return silent if len(last_norms) else (~aside).tolist()
