"""From a probe of a model in training to a record of the run: a few numbers, and the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gradcli.inspection.probing import NOT_FINITE, Timer, loss_and_fault
from gradcli.probes.probe import Probe, ProbeTarget, plain
from gradcli.records import ProbeRecord


def record_probes(
    probes: Iterable[Probe[Any]], copy_of_model: Callable[[], ProbeTarget]
) -> Iterator[ProbeRecord]:
    """Run probes, and yield the record of each as soon as it is done.

    Each gets its own copy, so its result does not depend on which others run: some train it on.
    The record of a probe that does not apply to the model, or fails, says why in `refused`.

    Args:
        probes: to run, in this order.
        copy_of_model: returns a new copy of the model to probe, as it is now.
    """
    target = copy_of_model()
    timer = Timer(target)
    _, fault = loss_and_fault(target)
    for probe in probes:
        if fault is not None:
            yield ProbeRecord(target.steps_made, probe.name, refused=NOT_FINITE)
            continue
        result = timer.run(probe, copy_of_model())
        summary = None
        if probe.name not in timer.refused:
            try:
                summary = probe.summary(result)._asdict()
            except Exception as error:
                timer.fail(probe, error)
        if summary is None:
            yield ProbeRecord(target.steps_made, probe.name, refused=timer.refused[probe.name])
            continue
        cost = timer.costs[probe.name]
        yield ProbeRecord(
            target.steps_made,
            probe.name,
            **summary,
            seconds=cost.seconds,
            passes=cost.passes,
            result=plain(result),
        )
