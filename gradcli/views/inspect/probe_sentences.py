"""What each costly probe found, in one or two sentences, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradcli.inspection.inspection import Inspection, ProbeCost
from gradcli.views import numbers

if TYPE_CHECKING:
    from gradcli.probes.alpha import StepFit
    from gradcli.probes.check import GradientCheck
    from gradcli.probes.descent import DescentCurve
    from gradcli.probes.hidden_states import HiddenStateGradients
    from gradcli.probes.histograms import LayerHistogram
    from gradcli.probes.noise import GradientNoise, Interval
    from gradcli.probes.sharpness import Sharpness

MOST_MODULES = 4
_AGREEMENT = 0.2
"""A mean cosine beyond this is more than independent directions would give by chance."""


def probe_sentences(inspection: Inspection) -> dict[str, list[str]]:
    """Return what the probes found, by the probe's name; those that were not asked for are out."""
    probes = inspection.probes
    found: dict[str, list[str]] = {}
    if "signals" in probes.costs:
        examples = numbers.count(inspection.examples, "example")
        found["signals"] = [f"forward and back through every layer with {examples}"]
    if probes.histograms is not None:
        found["histograms"] = _histograms(probes.histograms)
    if probes.cosine is not None:
        found["cosine"] = _cosine(probes.cosine)
    if probes.noise is not None:
        found["noise"] = _noise(probes.noise, inspection.batch_size)
    if probes.sharpness is not None:
        found["sharpness"] = _sharpness(probes.sharpness)
    if probes.alpha is not None:
        found["alpha"] = _alpha(probes.alpha)
    if probes.descent is not None:
        found["descent"] = _descent(probes.descent)
    if probes.hidden_states is not None:
        found["hidden-states"] = _hidden_states(probes.hidden_states)
    if probes.check is not None:
        found["check"] = _check(probes.check)
    return found


def cost_phrase(cost: ProbeCost) -> str:
    """Say what a probe took: its time, and how much of training that would have been."""
    seconds = cost.seconds
    time = f"{1000 * seconds:.0f} ms" if seconds < 1 else numbers.duration(seconds)
    passes = f"{cost.passes:.1f}" if cost.passes < 10 else numbers.count(round(cost.passes))
    return f"cost: {time}, {passes} forward-backward passes"


def _histograms(layers: Sequence[LayerHistogram]) -> list[str]:
    histograms = [layer.histogram for layer in layers]
    size = sum(histogram.size for histogram in histograms)
    zeros = sum(histogram.zeros for histogram in histograms)
    share = [one.zeros / one.size if one.size else 0.0 for one in histograms]
    sentence = f"{numbers.share(zeros / size if size else math.nan)} of all elements exactly zero"
    if zeros:
        most = int(np.argmax(share))
        sentence += f", most in {layers[most].layer} ({numbers.share(share[most])})"
    non_finite = sum(histogram.non_finite for histogram in histograms)
    if non_finite:
        sentence += f"; {numbers.count(non_finite)} not finite"
    return [sentence]


def _cosine(cosines: Sequence[float]) -> list[str]:
    known = [cosine for cosine in cosines if not math.isnan(cosine)]
    if not known:
        return ["not known: no two gradients in a row were finite and not zero"]
    mean = sum(known) / len(known)
    if mean > _AGREEMENT:
        meaning = "consecutive gradients agree"
    elif mean < -_AGREEMENT:
        meaning = "the steps go to and fro across a valley"
    else:
        meaning = "consecutive gradients are nearly unrelated: noise rules"
    spread = f"{min(known):+.2f} to {max(known):+.2f} over {numbers.count(len(known), 'step')}"
    return [f"mean {mean:+.2f} ({spread}): {meaning}"]


def _noise(noise: GradientNoise, batch_size: int) -> list[str]:
    scale = noise.noise_scale
    if batch_size < scale.low:
        meaning = f"the batch of {batch_size} is mostly noise"
    elif batch_size > scale.high:
        meaning = f"the batch of {batch_size} is mostly signal"
    else:
        meaning = f"the batch of {batch_size} may be on either side of it"
    examples = f"from {numbers.count(noise.examples, 'example')}"
    tests = (
        f"for that many: norm test {numbers.norm(noise.norm_test)}, inner-product test "
        f"{numbers.norm(noise.inner_product_test)}, GSNR excess {numbers.norm(noise.gsnr_excess)}"
    )
    return [f"noise scale {_interval(scale)}, {examples}; {meaning}", tests]


def _interval(interval: Interval) -> str:
    ends = f"{count_examples(interval.low)} to {count_examples(interval.high)}"
    return f"{count_examples(interval.estimate)} (95%: {ends})"


def count_examples(number: float) -> str:
    """Write a noise scale: a number of examples, which may be below one or infinite."""
    return (
        numbers.count(round(number)) if math.isfinite(number) and number >= 10 else f"{number:.2g}"
    )


def _sharpness(sharpness: Sharpness) -> list[str]:
    sentences = [f"largest eigenvalue of the Hessian {signed(sharpness.largest)}"]
    if sharpness.dominant < 0:
        sentences[0] += (
            f"; the dominant one is {signed(sharpness.dominant)}, as the loss curves down more "
            "than up"
        )
    if not math.isnan(sharpness.threshold):
        stable = "unstable: beyond" if sharpness.beyond_stability else "stable: below"
        sentences.append(
            f"for this optimizer {signed(sharpness.preconditioned)}, {stable} the "
            f"{numbers.norm(sharpness.threshold)} of {sharpness.rule}"
        )
    return sentences


def signed(value: float) -> str:
    """Write a value that may be negative; one that was not found as such."""
    if math.isnan(value):
        return "not found"
    return numbers.norm(value) if value >= 0 else f"-{numbers.norm(-value)}"


def _alpha(fits: Sequence[StepFit]) -> list[str]:
    known = [fit.alpha for fit in fits if not math.isnan(fit.alpha)]
    if not known:
        return ["not known: no step was made"]
    middle = float(np.median(known))
    if middle < -0.5:
        meaning = "the steps end well before the minimum along them"
    elif middle <= 0.5:
        meaning = "the steps end near the minimum along them"
    elif middle <= 1:
        meaning = "the steps end beyond the minimum along them"
    else:
        meaning = "the steps overshoot: they end higher than they began"
    spread = f"{min(known):+.2f} to {max(known):+.2f} over {numbers.count(len(known), 'step')}"
    return [f"median {middle:+.2f} ({spread}); 0 is the minimum: {meaning}"]


def _descent(curve: DescentCurve) -> list[str]:
    if not curve.descends:
        return ["the negative gradient does not lower the loss, not even in the shortest step"]
    best = int(np.argmin(np.abs(curve.steps - curve.best_step)))
    length = numbers.share(float(curve.relative_lengths[best]))
    return [
        f"along the negative gradient the loss falls from {numbers.score(curve.start_loss)} to "
        f"{numbers.score(curve.best_loss)}, at {numbers.norm(curve.best_step)} times the "
        f"gradient ({length} of the weights' norm)",
        f"it stays below its start up to {numbers.norm(curve.descends_to)} times the gradient",
    ]


def _hidden_states(modules: Sequence[HiddenStateGradients]) -> list[str]:
    sentences = [_hidden_state(module) for module in modules[:MOST_MODULES]]
    if len(modules) > MOST_MODULES:
        sentences.append(f"and {numbers.count(len(modules) - MOST_MODULES, 'more layer')}")
    return sentences


def _hidden_state(states: HiddenStateGradients) -> str:
    first, last = numbers.norm(float(states.hidden[0])), numbers.norm(float(states.hidden[-1]))
    slope = states.slope.decades
    change = "" if math.isnan(slope) else f"; slope {slope:+.3f} decades a time step"
    return f"{state_name(states)}: {first} at time 1, {last} at time {len(states.hidden)}{change}"


def state_name(states: HiddenStateGradients) -> str:
    """Name a layer and direction of a recurrent module."""
    return f"{states.module} layer {states.layer}{' backwards' if states.reverse else ''}"


def _check(check: GradientCheck) -> list[str]:
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
        sentences.append(f"the gradient is too small to tell in {', '.join(unresolved)}")
    return sentences
