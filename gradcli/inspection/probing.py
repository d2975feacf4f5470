"""The costly probes by name: what each looks at, what it found, and what it took."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter, process_time
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradcli.errors import UserError
from gradcli.gradients.layer_probe import LayerProbe, zero_parameters
from gradcli.gradients.layers import find_layers, layer_module
from gradcli.gradients.non_finite import locate_fault
from gradcli.gradients.norms import Gradients, sum_of_squares, total_norm
from gradcli.inspection.inspection import ProbeCost, ProbeResults
from gradcli.inspection.measures import Measures
from gradcli.probes.activations import probe_signals
from gradcli.probes.alpha import StepFit, step_alpha
from gradcli.probes.check import check_gradients
from gradcli.probes.cosine import StepCosine
from gradcli.probes.descent import loss_along_gradient
from gradcli.probes.hidden_states import hidden_state_gradients
from gradcli.probes.histograms import gradient_histograms
from gradcli.probes.names import CHECK
from gradcli.probes.noise import gradient_noise
from gradcli.probes.sharpness import sharpness
from gradcli.probes.untouched import random_states_kept
from gradcli.records import FaultRecord, LayerInfo

#: Why a probe is refused that would look at gradients which are no numbers.
NOT_FINITE = "the loss or a gradient is no finite number"

_NOISE_EXAMPLES = 256
_CHECK_EXAMPLES = 16
_STEPS = 5
_STEPPING = ("cosine", "alpha")
_REFERENCE_PASSES = 5


class MakeStep(Protocol):
    """Makes the next training step, which changes the model, and returns its batch."""

    def __call__(self, probe: LayerProbe | None = None) -> tuple[Tensor, Tensor]:
        """Return inputs (b, ...) and labels (b,)."""


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """What is probed: a model that nobody else needs, as its steps change it at the end.

    Args:
        model: in training mode, on its device.
        optimizer: of the model, in the state in which it would make its next step.
        batches: the probe set, as pairs of inputs and labels; the first one serves where a probe
            looks at a single batch.
        step: makes the next training step.
        steps_made: the updates made so far.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: Sequence[tuple[Tensor, Tensor]]
    step: MakeStep
    steps_made: int

    def examples(self, count: int) -> tuple[Tensor, Tensor]:
        """Return the first examples of the probe set, as one batch."""
        inputs, labels = (torch.cat(tensors) for tensors in zip(*self.batches, strict=True))
        return inputs[:count], labels[:count]


def measure(target: ProbeTarget, probes: Sequence[str], *, check: bool) -> Measures:
    """Look at every layer's signals, and make the probes that are asked for.

    A probe that cannot be made of this model is noted with its reason, as are all where the
    gradients are not finite. Of a fresh model the first update is measured too, and the hidden
    states are looked at wherever there are any.

    Args:
        target: the model; its weights are others afterwards where steps were made.
        probes: names out of `names.PROBES`.
        check: whether autograd is compared with differences.
    """
    model = target.model
    layers = find_layers(model)
    is_fresh = not target.steps_made
    timer = Timer(target)
    signals = timer.make("signals", target)
    assert signals is not None
    loss, fault = loss_and_fault(target)
    weight_norm = tuple(_weight_norm(layer_module(model, layer)) for layer in layers)
    update_ratio = (math.nan,) * len(layers)
    asked = {*probes, *([CHECK] if check else [])}
    if is_fresh and _recurrent(model):
        asked.add("hidden-states")
    wanted = [name for name in _MAKERS if name in asked and name != "signals"]
    found: dict[str, Any] = {}
    if fault is None:
        found = {name: timer.make(name, target) for name in wanted if name not in _STEPPING}
        if is_fresh:
            update_ratio = _first_update(target, layers)
        found |= {name: timer.make(name, target) for name in wanted if name in _STEPPING}
    else:
        timer.refused |= dict.fromkeys(wanted, NOT_FINITE)
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
            name for name, module in _recurrent(model) if isinstance(module, nn.GRU | nn.LSTM)
        ),
        weight_norm=weight_norm,
        update_ratio=update_ratio,
        probes=ProbeResults(
            **{name.replace("-", "_"): result for name, result in found.items()},
            costs=timer.costs,
            refused=timer.refused,
        ),
    )


class Timer:
    """Makes probes by name, and notes what each has cost or why it was refused.

    Args:
        target: a model like those that will be probed; its first batch, forward and back, is
            the measure of the cost.
    """

    def __init__(self, target: ProbeTarget) -> None:
        inputs, labels = target.batches[0]
        twin = copy.deepcopy(target.model)
        self._device = inputs.device

        def work_of_a_pass() -> float:
            stopwatch = _Stopwatch(self._device)
            _backward(twin, inputs, labels)
            return stopwatch.read()[1]

        # The least of several, since the first one allocates.
        self._work_per_pass = min(work_of_a_pass() for _ in range(_REFERENCE_PASSES))
        self.costs: dict[str, ProbeCost] = {}
        self.refused: dict[str, str] = {}

    def make(self, name: str, target: ProbeTarget) -> Any:
        """Make a probe, and return what it found; None where it is refused."""
        _rehearse(name, target)
        stopwatch = _Stopwatch(self._device)
        try:
            result = _MAKERS[name](target)
        except UserError as error:
            self.refused[name] = error.problem
            return None
        seconds, work = stopwatch.read()
        self.costs[name] = ProbeCost(seconds, work / self._work_per_pass)
        return result


class _Stopwatch:
    """Measures the seconds that pass, and those of work.

    On a busy machine one pass may wait for its turn three times as long as it takes, and the
    next one not at all. Work on a CPU is the processor's time, in which nobody waits.
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


def _rehearse(name: str, target: ProbeTarget) -> None:
    """Make a probe of a toy, so that what it loads once in a process is not taken for its cost.

    On one core: sharpness imports a part of SciPy in 0.3 s, per-example gradients load one of
    PyTorch in 0.5 to 3 s. The probes that make training steps load nothing of their own.
    """
    if name in _STEPPING:
        return
    device = target.batches[0][0].device
    with random_states_kept(target.model), suppress(UserError):
        toy = nn.Linear(8, 8, device=device)
        batch = torch.eye(4, 8, device=device), torch.arange(4, device=device)
        _MAKERS[name](replace(target, model=toy, batches=(batch,)))


def _backward(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Put the gradients of a batch into `p.grad` and return the loss; no random state moves."""
    model.zero_grad(set_to_none=True)
    with random_states_kept(model):
        loss = F.cross_entropy(model(inputs), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def loss_and_fault(target: ProbeTarget) -> tuple[float, FaultRecord | None]:
    """Return the mean loss over the probe set, and the first non-finite value met in it."""
    total, fault = 0.0, None
    twin = copy.deepcopy(target.model)
    gradients = Gradients(twin, find_layers(twin))
    for inputs, labels in target.batches:
        loss = _backward(twin, inputs, labels)
        total += float(loss) * len(labels)
        norms = gradients.norms()
        if fault is None and not bool(torch.isfinite(loss + total_norm(norms))):
            phase, layer = locate_fault(twin, inputs, labels, norms)
            fault = FaultRecord(target.steps_made + 1, 0, phase, layer, float(loss), ())
    return total / sum(len(labels) for _, labels in target.batches), fault


def _weight_norm(module: nn.Module) -> float:
    return math.sqrt(
        sum(sum_of_squares(p.detach().cpu()) for p in module.parameters(recurse=False))
    )


def _recurrent(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [pair for pair in model.named_modules() if isinstance(pair[1], nn.RNNBase)]


def _first_update(target: ProbeTarget, layers: tuple[LayerInfo, ...]) -> tuple[float, ...]:
    """Make the first step, and return each layer's update ratio."""
    probe = LayerProbe(target.model, layers, zero_parameters(target.model))
    target.step(probe)
    return probe.record(1).update_ratio


def _cosines(target: ProbeTarget) -> tuple[float, ...]:
    cosine, values = StepCosine(), []
    for _ in range(_STEPS + 1):
        target.step()
        values.append(cosine([p.grad for p in target.model.parameters() if p.grad is not None]))
    return tuple(values[1:])


def _alphas(target: ProbeTarget) -> tuple[StepFit, ...]:
    fits = []
    for _ in range(_STEPS):
        before = {name: p.detach().clone() for name, p in target.model.named_parameters()}
        inputs, labels = target.step()
        fits.append(step_alpha(target.model, before, inputs, labels))
    return tuple(fits)


#: What makes each probe, in the order of `names.PROBES`: those that make steps come last.
_MAKERS: dict[str, Callable[[ProbeTarget], Any]] = {
    "signals": lambda target: probe_signals(target.model, target.batches),
    "histograms": lambda target: gradient_histograms(target.model, *target.batches[0]),
    "noise": lambda target: gradient_noise(target.model, *target.examples(_NOISE_EXAMPLES)),
    "sharpness": lambda target: sharpness(
        target.model, *target.batches[0], optimizer=target.optimizer
    ),
    "descent": lambda target: loss_along_gradient(target.model, *target.batches[0]),
    "hidden-states": lambda target: hidden_state_gradients(target.model, *target.batches[0]),
    CHECK: lambda target: check_gradients(target.model, *target.examples(_CHECK_EXAMPLES)),
    "cosine": _cosines,
    "alpha": _alphas,
}
