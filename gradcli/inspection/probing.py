"""Probes run on a model: what each finds, and what it costs."""

from __future__ import annotations

import copy
import json
import math
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from torch import Tensor, nn

from gradcli.errors import UserError, exception_in_words, place_in_own_code
from gradcli.gradients.layer_probe import LayerProbe, zero_parameters
from gradcli.gradients.layers import find_layers, layer_module
from gradcli.gradients.norms import Gradients, sum_of_squares, total_norm
from gradcli.gradients.tensors import tensor_range
from gradcli.inspection.inspection import ProbeCost, ProbeResults
from gradcli.inspection.measures import Measures
from gradcli.objectives import LossFunction
from gradcli.objectives.shipped import cross_entropy
from gradcli.probes.measuring.through_time import recurrent_modules
from gradcli.probes.measuring.untouched import random_states_kept
from gradcli.probes.probe import FAILED, Announce, Probe, ProbeTarget, Result, plain
from gradcli.probes.registry import SHIPPED, known_probes
from gradcli.probes.signals import SIGNALS
from gradcli.records import FaultRecord, LayerInfo
from gradcli.tracing.non_finite import locate_fault

#: Why a probe is not run if gradients are NaN or infinite.
NOT_FINITE = "the loss or a gradient is not finite"

_REFERENCE_PASSES = 5


def measure(target: ProbeTarget, probes: Sequence[Probe[Any]], announce: Announce) -> Measures:
    """Look at every layer's signals, and run the requested probes.

    A probe that does not apply to this model, or fails, is noted with its reason, as are all if
    the gradients are not finite. On a fresh model the first update is measured too. Probes that
    make training steps run last.

    Args:
        target: the model; its weights are others afterwards if steps were made.
        probes: the requested ones; some run without being requested.
        announce: called with the probe that runs next.
    """
    model = target.model
    layers = find_layers(model)
    unasked = [probe for probe in known_probes() if probe.unasked and probe.unasked(target)]
    # Each one once, in the order of the registry.
    wanted = [
        probe for probe in known_probes() if probe in (*probes, *unasked) and probe is not SIGNALS
    ]
    first = [probe for probe in wanted if not probe.takes_steps]
    last = [probe for probe in wanted if probe.takes_steps]
    total = 1 + len(wanted)
    timer = Timer(target)
    announce(SIGNALS.name, 1, total)
    signals = timer.timed(SIGNALS, target)  # nothing can be said without it
    loss, fault = loss_and_fault(target)
    with target.evaluated():
        weight_norm = tuple(_weight_norm(layer_module(model, layer)) for layer in layers)
    update_ratio = (math.nan,) * len(layers)
    found: dict[str, Any] = {SIGNALS.name: signals}

    def run(some: Sequence[Probe[Any]], start: int) -> None:
        for number, probe in enumerate(some, start):
            announce(probe.name, number, total)
            with _restored_on_failure(probe, timer, model):
                result = timer.run(probe, target)
            if probe.name not in timer.refused:
                found[probe.name] = result

    if fault is None:
        run(first, 2)
        if not target.steps_made:
            update_ratio = _first_update(target, layers)
        run(last, 2 + len(first))
    else:
        timer.refused |= {probe.name: NOT_FINITE for probe in wanted}
    return Measures(
        layers=layers,
        signals=signals,
        loss=loss,
        fault=fault,
        frozen=tuple(
            not any(p.requires_grad for p in layer_module(model, layer).parameters(recurse=False))
            for layer in layers
        ),
        gated=frozenset(
            name
            for name, module in recurrent_modules(model).items()
            if isinstance(module, nn.GRU | nn.LSTM)
        ),
        weight_norm=weight_norm,
        update_ratio=update_ratio,
        probes=ProbeResults(found=found, costs=timer.costs, refused=timer.refused),
        inputs=tensor_range(target.batches[0][0]),
    )


@contextmanager
def _restored_on_failure(probe: Probe[Any], timer: Timer, model: nn.Module) -> Iterator[None]:
    """Restore the model if a user's own probe fails: the next probe must find it as it was.

    The shipped probes restore it themselves.
    """
    if probe in SHIPPED or probe.takes_steps:
        yield
        return
    state = copy.deepcopy(model.state_dict())
    training = {module: module.training for module in model.modules()}
    yield
    if probe.name in timer.refused:
        model.load_state_dict(state)
        for module, mode in training.items():
            module.training = mode


class Timer:
    """Runs probes, and notes what each cost or why it has no result.

    Args:
        target: a model like those that will be probed. A forward-backward pass of its first
            batch is the unit of the cost.
    """

    def __init__(self, target: ProbeTarget) -> None:
        twin = copy.deepcopy(target.model)
        self._device = target.batches[0][0].device

        def work_of_a_pass() -> float:
            stopwatch = _Stopwatch(self._device)
            _backward(twin, target.loss, *target.batches[0])
            return stopwatch.read()[1]

        # The least of several, since the first one allocates.
        self._work_per_pass = min(work_of_a_pass() for _ in range(_REFERENCE_PASSES))
        self.costs: dict[str, ProbeCost] = {}
        self.refused: dict[str, str] = {}

    def run(self, probe: Probe[Result], target: ProbeTarget) -> Result | None:
        """Run a probe, and return its result; None if it does not apply to the model or fails.

        A probe that fails must not end a training or the rest of an inspection.
        """
        try:
            result = self.timed(probe, target)
            _require_plain(result)
        except UserError as error:
            self.refused[probe.name] = error.problem
        except Exception as error:
            self.fail(probe, error)
        else:
            return result
        return None

    def fail(self, probe: Probe[Any], error: Exception) -> None:
        """Note that the code of a probe raised an exception, and where it did."""
        self.costs.pop(probe.name, None)
        self.refused[probe.name] = f"{FAILED}{exception_in_words(error)}{_place(error)}"

    def timed(self, probe: Probe[Result], target: ProbeTarget) -> Result:
        """Run a probe, note its cost, and return its result; whatever it raises is raised."""
        _rehearse(probe, target)
        stopwatch = _Stopwatch(self._device)
        with nullcontext() if probe.takes_steps else target.evaluated():
            result = probe.run(target)
        seconds, work = stopwatch.read()
        self.costs[probe.name] = ProbeCost(seconds, work / self._work_per_pass)
        return result


def _require_plain(result: Any) -> None:
    """Make sure that a result can be written to a run and printed as JSON.

    Raises:
        TypeError: if it holds anything but plain values.
    """
    try:
        json.dumps(plain(result))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"its result cannot be written as JSON ({error}); a probe returns numbers, text, NumPy "
            "arrays, or dataclasses, tuples, lists or dicts of them"
        ) from error


def _place(error: Exception) -> str:
    """Return where the code of a probe raised an exception; empty if that is not known.

    The user's own line is named if there is one, else that of a probe that ships.
    """
    probes = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(Path(__file__).parents[1] / "probes")
    ]
    place = place_in_own_code(error)
    if not place and probes:
        place = f"{probes[-1].filename}:{probes[-1].lineno}"
    return f" ({place})" if place else ""


class _Stopwatch:
    """Measures elapsed seconds, and seconds of work.

    On a busy machine one pass may wait three times as long as it computes, and the next not at
    all. On a CPU, work is the processor's time, which does not include waiting.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._clock = process_time if device.type == "cpu" else perf_counter
        self._began = perf_counter(), self._clock()

    def read(self) -> tuple[float, float]:
        """Return both since the start."""
        if self._device.type != "cpu":
            torch.accelerator.synchronize()
        began, began_work = self._began
        return perf_counter() - began, self._clock() - began_work


def _rehearse(probe: Probe[Any], target: ProbeTarget) -> None:
    """Run a probe on a toy, so that what it loads once per process does not count as its cost.

    On one core: sharpness imports a part of SciPy in 0.3 s, per-example gradients load one of
    PyTorch in 0.5 to 3 s. The shipped probes that make training steps load nothing extra.
    """
    if probe.takes_steps:
        return
    device = target.batches[0][0].device
    # A failure on the toy means nothing: only the one on the model counts.
    with random_states_kept(target.model), suppress(Exception):
        toy = nn.Linear(8, 8, device=device)
        batch = torch.eye(4, 8, device=device), torch.arange(4, device=device)
        probe.run(replace(target, model=toy, loss=cross_entropy, batches=(batch,)))


def _backward(model: nn.Module, loss_of: LossFunction, inputs: Tensor, targets: Tensor) -> Tensor:
    """Put a batch's gradients into `p.grad` and return the loss; random states are kept."""
    model.zero_grad(set_to_none=True)
    with random_states_kept(model):
        loss = loss_of(model(inputs), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def loss_and_fault(target: ProbeTarget) -> tuple[float, FaultRecord | None]:
    """Return the mean loss over the probe set, and the first non-finite value in it."""
    total, fault = 0.0, None
    with target.evaluated():
        twin = copy.deepcopy(target.model)
    gradients = Gradients(twin, find_layers(twin))
    for inputs, targets in target.batches:
        loss = _backward(twin, target.loss, inputs, targets)
        total += float(loss) * len(targets)
        norms = gradients.norms()
        if fault is None and not bool(torch.isfinite(loss + total_norm(norms))):
            place = locate_fault(twin, inputs, targets, norms, loss=target.loss)
            fault = place.record(target.steps_made + 1, 0, float(loss))
    return total / sum(len(targets) for _, targets in target.batches), fault


def _weight_norm(module: nn.Module) -> float:
    return math.sqrt(
        sum(sum_of_squares(p.detach().cpu()) for p in module.parameters(recurse=False))
    )


def _first_update(target: ProbeTarget, layers: tuple[LayerInfo, ...]) -> tuple[float, ...]:
    """Make the first step, and return each layer's update ratio."""
    probe = LayerProbe(target.model, layers, zero_parameters(target.model))
    target.step(probe)
    return probe.record(1).update_ratio
