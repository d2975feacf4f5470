"""Probe: autograd against central differences. `--check` asks for it, not `--probe`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from gradcli.notation import numbers
from gradcli.probes.probe import Probe, ProbeSummary, ProbeTarget, Reading

if TYPE_CHECKING:
    from gradcli.probes.measuring.finite_differences import GradientCheck

_EXAMPLES = 16


def _run(target: ProbeTarget) -> GradientCheck:
    from gradcli.probes.measuring.finite_differences import check_gradients

    return check_gradients(target.model, *target.examples(_EXAMPLES), loss=target.loss)


def _summary(check: GradientCheck) -> ProbeSummary:
    """Return the largest relative error of what rounding does not hide."""
    errors = [part.relative_error for part in (*check.layers, *check.modules) if part.resolved]
    return ProbeSummary(max(errors, default=math.nan))


def _sentences(check: GradientCheck, batch_size: int) -> list[str]:
    parts = (*check.layers, *check.modules)
    if check.wrong:
        off = max(part.relative_error for part in parts if not part.agrees)
        return [
            f"autograd is wrong in {', '.join(check.wrong)}: it differs from central differences "
            f"by {numbers.share(off)}"
        ]
    seen = [part.relative_error for part in parts if part.resolved]
    worst = f", to {max(seen):.0e} or better" if seen else ""
    layers = numbers.count(len(check.layers), "layer")
    sentences = [f"autograd agrees with central differences in {layers}{worst}"]
    unresolved = [layer.name for layer in check.layers if not layer.resolved]
    if unresolved:
        sentences.append(f"the gradient is too small to check in {', '.join(unresolved)}")
    return sentences


def _wrong(check: GradientCheck) -> dict[str, Any]:
    return {"wrong": check.wrong}


CHECK = Probe(
    name="check",
    cost="hundreds of forward passes in float64, of 16 examples",
    run=_run,
    summary=_summary,
    sentences=_sentences,
    reading=Reading(meaning="error of autograd", logarithmic=True),
    own_option="--check",
    conclusions=_wrong,
)
