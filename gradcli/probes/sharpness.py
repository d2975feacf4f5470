"""Probe: the largest curvature of the loss, against what the optimizer's steps can bear."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gradcli.notation import numbers
from gradcli.probes.probe import Probe, ProbeSummary, ProbeTarget, Reading
from gradcli.records import ProbeRecord

if TYPE_CHECKING:
    from gradcli.probes.measuring.hessian import Sharpness


def _run(target: ProbeTarget) -> Sharpness:
    from gradcli.probes.measuring.hessian import sharpness

    return sharpness(target.model, *target.batches[0], loss=target.loss, optimizer=target.optimizer)


def _summary(sharpness: Sharpness) -> ProbeSummary:
    """Return the largest eigenvalue in the optimizer's metric, if its threshold is known."""
    if math.isnan(sharpness.threshold):
        return ProbeSummary(sharpness.largest)
    return ProbeSummary(sharpness.preconditioned, limit=sharpness.threshold)


def _sentences(sharpness: Sharpness, batch_size: int) -> list[str]:
    sentences = [f"largest eigenvalue of the Hessian {_signed(sharpness.largest)}"]
    if sharpness.dominant < 0:
        sentences[0] += (
            f"; the one of largest magnitude is {_signed(sharpness.dominant)}: the loss curves "
            "down more than up"
        )
    if not math.isnan(sharpness.threshold):
        side = _side(beyond=sharpness.beyond_stability)
        sentences.append(
            f"for this optimizer {_signed(sharpness.preconditioned)}, {side} the threshold of "
            f"{numbers.norm(sharpness.threshold)}, {sharpness.rule}"
        )
    return sentences


def _side(*, beyond: bool) -> str:
    return "unstable: above" if beyond else "stable: below"


def _signed(value: float) -> str:
    """Write a value that may be negative; NaN as not found."""
    if math.isnan(value):
        return "not found"
    return numbers.norm(value) if value >= 0 else f"-{numbers.norm(-value)}"


def _against(record: ProbeRecord, batch_size: int) -> str:
    if math.isnan(record.limit):
        return "no threshold known: the plain Hessian"
    if math.isnan(record.value):
        return ""
    return f"{_side(beyond=record.value > record.limit)} {numbers.norm(record.limit)}"


SHARPNESS = Probe(
    name="sharpness",
    cost="40 to 360",
    run=_run,
    summary=_summary,
    sentences=_sentences,
    reading=Reading(
        meaning="sharpness",
        write=_signed,
        against=_against,
        limit_name="stability threshold",
        logarithmic=True,
    ),
)
