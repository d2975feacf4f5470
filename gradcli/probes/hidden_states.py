"""Probe: the gradient w.r.t. each hidden state of a recurrent module, through time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradcli.notation import numbers
from gradcli.notation.panels import color_and_marker, finite_or_gap, legend_above, log_scale
from gradcli.probes.probe import Probe, ProbeSummary, ProbeTarget, Reading, spread, with_sign

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gradcli.probes.measuring.through_time import HiddenStateGradients

MOST_MODULES = 4
"""How many layers get a sentence."""


def _run(target: ProbeTarget) -> tuple[HiddenStateGradients, ...]:
    from gradcli.probes.measuring.through_time import hidden_state_gradients

    return hidden_state_gradients(target.model, *target.batches[0], target.loss)


def _summary(modules: Sequence[HiddenStateGradients]) -> ProbeSummary:
    """Return the steepest layer's slope in decades per time step."""
    slopes = [one.slope.decades for one in modules if not math.isnan(one.slope.decades)]
    return spread(max(slopes, key=abs, default=math.nan), slopes)


def _sentences(modules: Sequence[HiddenStateGradients], batch_size: int) -> list[str]:
    sentences = [_sentence(module) for module in modules[:MOST_MODULES]]
    if len(modules) > MOST_MODULES:
        sentences.append(f"and {numbers.count(len(modules) - MOST_MODULES, 'more layer')}")
    return sentences


def _sentence(states: HiddenStateGradients) -> str:
    first, last = numbers.norm(float(states.hidden[0])), numbers.norm(float(states.hidden[-1]))
    slope = states.slope.decades
    change = "" if math.isnan(slope) else f"; log10 slope {slope:+.3f} per time step"
    return f"{_name(states)}: {first} at time 1, {last} at time {len(states.hidden)}{change}"


def _name(states: HiddenStateGradients) -> str:
    """Name a layer and direction of a recurrent module."""
    return f"{states.module} layer {states.layer}{' backwards' if states.reverse else ''}"


def _draw(figure: Figure, modules: Sequence[HiddenStateGradients]) -> None:
    """Draw how much of the gradient arrives at each time step."""
    axes = figure.add_subplot()
    for index, states in enumerate(modules):
        label = _name(states)
        if not math.isnan(states.slope.decades):
            label += f": log10 slope {states.slope.decades:+.3f} per time step"
        time = np.arange(1, len(states.hidden) + 1)
        color, marker = color_and_marker(index)
        norms = finite_or_gap(states.hidden)
        axes.plot(time, norms, color=color, marker=marker, markersize=4, label=label)
        if states.cell is not None:
            cells = finite_or_gap(states.cell)
            axes.plot(time, cells, "--", color=color, label=f"{_name(states)}, cell state")
    log_scale(axes, np.concatenate([states.hidden for states in modules]))
    axes.grid(alpha=0.3)
    legend_above(axes, columns=2)
    axes.set_xlabel("time step of the sequence")
    axes.set_ylabel("norm of the gradient\nw.r.t. the hidden state")
    figure.suptitle("The gradient on its way back through time")


def _of_fresh_recurrent_models(target: ProbeTarget) -> bool:
    from gradcli.probes.measuring.through_time import recurrent_modules

    return not target.steps_made and bool(recurrent_modules(target.model))


HIDDEN_STATES = Probe(
    name="hidden-states",
    cost="one, several times slower than a fused one; of recurrent models",
    run=_run,
    summary=_summary,
    sentences=_sentences,
    reading=Reading(meaning="log10 slope per time step", write=with_sign),
    draw=_draw,
    unasked=_of_fresh_recurrent_models,
)
