"""What the probes of an inspection found, in sentences, and what they cost."""

from __future__ import annotations

from gradcli.inspection.inspection import Inspection, ProbeCost
from gradcli.notation import numbers
from gradcli.probes.registry import known_probes
from gradcli.views.labelled import LABEL_WIDTH


def probe_sentences(inspection: Inspection) -> dict[str, list[str]]:
    """Return what the probes found, by the probe's name, in the order of the registry."""
    return {
        probe.name: probe.sentences(inspection.probes.found[probe.name], inspection.batch_size)
        for probe in known_probes()
        if probe.name in inspection.probes.found
    }


def probe_label(name: str) -> str:
    """Return as much of a probe's name as fits into the margin."""
    return name if len(name) < LABEL_WIDTH else name.partition("-")[0]


def cost_phrase(cost: ProbeCost) -> str:
    """Say what a probe cost: its time, and how much of training that would have been."""
    seconds = cost.seconds
    time = f"{1000 * seconds:.0f} ms" if seconds < 1 else numbers.duration(seconds)
    passes = f"{cost.passes:.1f}" if cost.passes < 10 else numbers.count(round(cost.passes))
    return f"cost: {time}, {passes} forward-backward passes"
