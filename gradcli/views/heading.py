"""A run in short phrases: the same words and colours at the top of every screen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from gradcli.notation import numbers
from gradcli.records import DataInfo, FaultRecord, RunInfo

#: The width of the line of a parameter group outside a screen.
LONGEST_GROUP = 100
STATUS_STYLES = {
    "finished": "green",
    "diverged": "red",
    "failed": "red",
    "interrupted": "yellow",
    "lost": "yellow",
    "running": "cyan",
}


def describe_data(data: DataInfo) -> str:
    """Name the data, and the number of training examples if it is known."""
    if not data.train:
        return f"{data.name} data"
    kind = "images" if len(data.shape) == 3 else "examples"
    return f"{data.name} {numbers.count(data.train)} {kind}"


def describe(info: RunInfo) -> list[str]:
    """Describe a run in phrases, the most important first.

    What is not known, as in the user's own loop, is left out.
    """
    phrases = [
        describe_data(info.data),
        f"{info.model} {numbers.count(info.model_size)} parameters",
        " ".join(filter(None, (with_rates(info.optimizer, info.learning_rates), info.schedule))),
        f"augment {info.augment}" if info.augment else "",
        info.device,
        f"clip {info.clip}" if info.clip else "",
        info.activation,
        describe_batch(info),
        numbers.count(info.threads, "thread"),
    ]
    return [phrase for phrase in phrases if phrase]


def with_rates(optimizer: str, rates: Sequence[float]) -> str:
    """Name an optimizer with its learning rate: `sgd 0.1`, or `sgd 2 rates 0.01 to 0.5`.

    Args:
        optimizer: its name.
        rates: of its parameter groups, each once and rising; empty if none is known.
    """
    match rates:
        case []:
            return optimizer
        case [rate]:
            return f"{optimizer} {rate:g}"
    count = numbers.count(len(rates), "rate")
    return f"{optimizer} {count} {rates[0]:g} to {rates[-1]:g}"


def describe_batch(info: RunInfo) -> str:
    """Say how many examples an update takes, and in how many passes; empty if that is unknown."""
    passes = f" in {info.accumulate} passes" if info.accumulate > 1 else ""
    return f"batch {info.batch_size}{passes}" if info.batch_size else ""


def describe_groups(info: RunInfo) -> list[str]:
    """Describe each parameter group in a line; empty without groups."""
    return [
        f"{group.name}: {group.optimizer.rpartition('.')[2]}"
        + ("" if math.isnan(group.learning_rate) else f" {group.learning_rate:g}")
        + f", {numbers.count(len(group.parameters), 'parameter')}: {', '.join(group.parameters)}"
        for group in info.groups
    ]


def joined(phrases: Iterable[str], separator: str, width: int) -> str:
    """Join as many of the first phrases as fit into `width` characters, but at least one."""
    text, *rest = phrases
    for phrase in rest:
        if len(text) + len(separator) + len(phrase) > width:
            break
        text += separator + phrase
    return text


def describe_fault(fault: FaultRecord) -> str:
    """Say in one line where the first non-finite value arose."""
    step = f"step {numbers.count(fault.step)}"
    if fault.split:
        step = f"{fault.split} evaluation after {step}"
    if fault.phase in ("inputs", "parameters", "update"):
        return f"not finite: first in {fault.tensor}, {fault.phase}, {step}"
    if fault.layer is not None:
        place = fault.layer
    elif fault.after and fault.phase == "forward":
        place = f"between {fault.after} and {fault.before}"
    else:
        place = "the loss"
    made = f" ({fault.operation})" if fault.operation else ""
    return f"not finite: first in {place}{made}, {fault.phase} pass, {step}"
