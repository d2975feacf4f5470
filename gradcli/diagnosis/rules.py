"""The table of rules, and `diagnose`, which applies it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from gradcli.diagnosis import broken, flow, step_size
from gradcli.diagnosis.evidence import Evidence
from gradcli.diagnosis.limits import DEPTH_FACTOR
from gradcli.diagnosis.loss_trend import FEWEST_STEPS
from gradcli.notation import numbers
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
    """Those that `find` may yield."""
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


#: In the order in which they are applied. The findings in `unless` explain the rest: if no gradient
#: arrives, a loss that does not fall is not a plateau, and if training has killed units, the model
#: is not at fault.
RULES = (
    Rule(("non-finite",), broken.non_finite, _gradients),
    Rule(("wrong-gradient",), broken.wrong_gradient, _check),
    Rule(("spike",), step_size.spike, _steps),
    Rule(
        ("lr-too-high",), step_size.learning_rate_too_high, _updates, unless=("non-finite", "spike")
    ),
    Rule(("no-gradient",), flow.no_gradient, _gradients),
    Rule(("dead-units",), flow.dead_units, _activations, unless=("spike", "lr-too-high")),
    Rule(("saturated",), flow.saturated, _activations, unless=("spike", "lr-too-high")),
    Rule(("vanishing", "exploding"), flow.vanishing_or_exploding, _gradients),
    Rule(("always-clipped",), step_size.always_clipped, _steps, unless=("exploding", "saturated")),
    Rule(
        ("lr-too-low",),
        step_size.learning_rate_too_low,
        _updates,
        unless=("vanishing", "exploding", "no-gradient", "always-clipped"),
    ),
    Rule(
        ("noise-dominated",),
        step_size.noise_dominated,
        _noise,
        unless=("vanishing", "exploding", "saturated", "lr-too-high", "spike"),
    ),
    Rule(
        ("plateau",),
        step_size.plateau,
        _steps,
        unless=(
            *("non-finite", "wrong-gradient", "no-gradient", "dead-units", "saturated"),
            *("vanishing", "exploding", "spike", "lr-too-high", "lr-too-low", "always-clipped"),
            "noise-dominated",
        ),
    ),
)


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
        findings.append(_healthy(evidence, tested))
    findings.sort(key=lambda finding: _SEVERITIES.index(finding.severity))
    if evidence.info.is_own_loop:  # it has no config, and so no override
        findings = [replace(finding, override=None) for finding in findings]
    return Diagnosis(tuple(findings), tuple(tested), not_tested)


def _enough(evidence: Evidence) -> bool:
    """Whether enough was seen to call it healthy: a run with updates, or a probed model."""
    return not _updates(evidence) or (not _activations(evidence) and not _gradients(evidence))


def _healthy(evidence: Evidence, tested: list[str]) -> Finding:
    relative = evidence.relative_norms
    known = relative[np.isfinite(relative)]
    spread = float(known.min() / known.max()) if len(known) and known.max() > 0 else 1.0
    facts: dict[str, float | int | str] = {"smallest_to_largest_layer": spread}
    updates = "Only a run can show how training goes."
    if not _updates(evidence):
        ratio = float(np.nanmax(evidence.usual_update_ratios))
        facts["largest_update_ratio"] = ratio
        updates = (
            f"Updates change no layer's weights by more than {numbers.norm(ratio)} times their "
            "norm per step."
        )
    return Finding(
        code="healthy",
        severity="info",
        layer=None,
        evidence=facts,
        threshold=f"layers within {DEPTH_FACTOR} of one another, and none of: {', '.join(tested)}",
        message="Gradients reach every layer: relative to the weights, the smallest is "
        f"{numbers.norm(spread)} times the largest. {updates}",
        override=None,
    )
