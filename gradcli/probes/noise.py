"""Probe: how much the examples' gradients disagree, and what that says of the batch size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gradcli.notation import numbers
from gradcli.probes.probe import Probe, ProbeSummary, ProbeTarget, Reading
from gradcli.records import ProbeRecord

if TYPE_CHECKING:
    from gradcli.probes.measuring.gradient_noise import GradientNoise, Interval

_EXAMPLES = 256


def _run(target: ProbeTarget) -> GradientNoise:
    from gradcli.probes.measuring.gradient_noise import gradient_noise

    return gradient_noise(target.model, *target.examples(_EXAMPLES), loss=target.loss)


def _summary(noise: GradientNoise) -> ProbeSummary:
    """Return the noise scale in examples, and the ends of its 95% interval."""
    scale = noise.noise_scale
    return ProbeSummary(scale.estimate, scale.low, scale.high)


def _sentences(noise: GradientNoise, batch_size: int) -> list[str]:
    scale = noise.noise_scale
    if batch_size < scale.low:
        meaning = f"a batch of {batch_size} is mostly noise"
    elif batch_size > scale.high:
        meaning = f"a batch of {batch_size} is mostly signal"
    else:
        meaning = f"a batch of {batch_size} may be mostly noise or mostly signal"
    examples = numbers.count(noise.examples, "example")
    tests = (
        f"for a batch of {numbers.count(noise.examples)}: norm test "
        f"{numbers.norm(noise.norm_test)}, inner-product test "
        f"{numbers.norm(noise.inner_product_test)}, GSNR excess "
        f"{numbers.norm(noise.gsnr_excess)}"
    )
    return [f"noise scale {_interval(scale)}, from {examples}; {meaning}", tests]


def _interval(interval: Interval) -> str:
    ends = f"{_count(interval.low)} to {_count(interval.high)}"
    return f"{_count(interval.estimate)} (95%: {ends})"


def _count(examples: float) -> str:
    """Write a number of examples, which may be below 1 or infinite."""
    if math.isfinite(examples) and examples >= 10:
        return numbers.count(round(examples))
    return f"{examples:.2g}"


def _against(record: ProbeRecord, batch_size: int) -> str:
    return f"batch {batch_size}"


def _batch_size(record: ProbeRecord, batch_size: int) -> float:
    return batch_size


NOISE = Probe(
    name="noise",
    cost="40 to 250, for the gradients of 256 examples one by one, twice; in a recurrent model "
    "one per example",
    run=_run,
    summary=_summary,
    sentences=_sentences,
    reading=Reading(
        meaning="noise scale",
        write=_count,
        against=_against,
        limit=_batch_size,
        limit_name="batch size",
        logarithmic=True,
    ),
)
