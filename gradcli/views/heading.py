"""What a run is, in short phrases: the same words at the head of every screen."""

from __future__ import annotations

from collections.abc import Iterable

from gradcli.records import DataInfo, FaultRecord, RunInfo
from gradcli.views import numbers


def describe_data(data: DataInfo) -> str:
    """Name the data and the number of training examples."""
    return f"{data.name} {numbers.count(data.train)} images"


def describe(info: RunInfo) -> list[str]:
    """Return what a run is in phrases, those that matter most first."""
    return [
        describe_data(info.data),
        f"{info.model} {numbers.count(info.model_size)} parameters",
        f"{info.optimizer} {info.learning_rate:g} {info.schedule}",
        info.device,
        f"clip {info.clip}",
        info.activation,
        f"batch {info.batch_size}",
        numbers.count(info.threads, "thread"),
    ]


def joined(phrases: Iterable[str], separator: str, width: int) -> str:
    """Join as many of the first phrases as fit into `width` characters, at least one."""
    text, *rest = phrases
    for phrase in rest:
        if len(text) + len(separator) + len(phrase) > width:
            break
        text += separator + phrase
    return text


def describe_fault(fault: FaultRecord) -> str:
    """Say where the first non-finite value arose, in one line."""
    place = "the loss" if fault.layer is None else fault.layer
    return f"not finite: first in {place}, {fault.phase} pass, step {numbers.count(fault.step)}"
