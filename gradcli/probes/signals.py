"""Probe: what goes forward through each layer, and the gradient that comes back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gradcli.notation import numbers
from gradcli.probes.probe import Probe, ProbeSummary, ProbeTarget, Reading, spread

if TYPE_CHECKING:
    from gradcli.probes.measuring.activations import SignalReport


def _run(target: ProbeTarget) -> SignalReport:
    from gradcli.probes.measuring.activations import probe_signals

    return probe_signals(target.model, target.batches, target.loss)


def _summary(report: SignalReport) -> ProbeSummary:
    """Return the share of dead units over all layers, and the layers' smallest and largest."""
    active = [layer for layer in report.layers if layer.units]
    if not active:
        return ProbeSummary(math.nan)
    dead = sum(layer.dead_units for layer in active) / sum(layer.units for layer in active)
    return spread(dead, [layer.dead_fraction for layer in active])


def _sentences(report: SignalReport, batch_size: int) -> list[str]:
    examples = numbers.count(report.examples, "example")
    return [f"forward and back through every layer with {examples}"]


def _always(target: ProbeTarget) -> bool:
    return True


SIGNALS = Probe(
    name="signals",
    cost="one pass per batch of the probe set; run with any other probe, and on every fresh model",
    run=_run,
    summary=_summary,
    sentences=_sentences,
    reading=Reading(meaning="dead units", write=numbers.share),
    unasked=_always,
    told_by_layer=True,
)
