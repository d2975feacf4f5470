"""The costly probes by name: which ones there are, what they look at, and what they took."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradcli.errors import UserError, nearest
from gradcli.gradients.faults import locate_fault
from gradcli.gradients.layer_probe import LayerProbe, zero_parameters
from gradcli.gradients.layers import find_layers, layer_module
from gradcli.gradients.norms import Gradients, sum_of_squares
from gradcli.gradients.probes.activations import probe_signals
from gradcli.gradients.probes.alpha import StepFit, step_alpha
from gradcli.gradients.probes.check import check_gradients
from gradcli.gradients.probes.cosine import StepCosine
from gradcli.gradients.probes.descent import loss_along_gradient
from gradcli.gradients.probes.hidden_states import hidden_state_gradients
from gradcli.gradients.probes.histograms import gradient_histograms
from gradcli.gradients.probes.noise import gradient_noise
from gradcli.gradients.probes.sharpness import sharpness
from gradcli.gradients.probes.untouched import random_states_kept
from gradcli.inspection.measures import Measures
from gradcli.inspection.results import ProbeCost, ProbeResults
from gradcli.records import FaultRecord, LayerInfo

#: The probes that may be asked for, each with what it costs in forward-backward passes of a batch.
PROBES = {
    "signals": "one pass a batch of the probe set; made with any other, and of every fresh model",
    "histograms": "one pass",
    "noise": "two to four passes of as many batches as make 256 examples, twice; one an example "
    "in a recurrent model",
    "sharpness": "40 to 360",
    "descent": "one, and 25 forward ones, in float64",
    "hidden-states": "one, several times slower than a fused one; of recurrent models",
    "cosine": "six training steps, on a copy",
    "alpha": "five training steps, on a copy, and two passes for each",
}
#: What looks at the derivative itself; asked for by a flag of its own.
CHECK = "check"

_NOISE_EXAMPLES = 256
_CHECK_EXAMPLES = 16
_STEPS = 5
_NOT_FINITE = "the loss or a gradient is no finite number"

_Result = TypeVar("_Result")


class Step(Protocol):
    """Makes the next training step, which changes the model, and returns its batch."""

    def __call__(self, probe: LayerProbe | None = None) -> tuple[Tensor, Tensor]:
        """Return inputs (b, ...) and labels (b,)."""


@dataclass(frozen=True, slots=True)
class Subject:
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
    step: Step
    steps_made: int


def choose_probes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the probes that `names` stand for, in the order in which they are made.

    Raises:
        UserError: for a name that is none; `all` stands for every one.
    """
    for name in names:
        if name not in (*PROBES, "all"):
            likely = nearest(name, [*PROBES, "all"])
            raise UserError(
                f"There is no probe '{name}'.",
                where="--probe",
                choices=likely or list(PROBES),
                hint="--check" if name == CHECK else f"--probe {(likely or ['all'])[0]}",
            )
    return tuple(name for name in PROBES if name in names or "all" in names)


def measure(subject: Subject, probes: Sequence[str], *, check: bool) -> Measures:
    """Look at every layer's signals, and make the probes that are asked for.

    A probe that cannot be made of this model is noted with its reason, as are all where the
    gradients are not finite. Of a fresh model the first update is measured too, and the hidden
    states are looked at wherever there are any.

    Args:
        subject: the model; its weights are others afterwards where steps were made.
        probes: names out of `PROBES`.
        check: whether autograd is compared with differences.
    """
    model = subject.model
    layers = find_layers(model)
    is_fresh = not subject.steps_made
    timer = _Timer(subject)
    signals = timer("signals", lambda: probe_signals(model, subject.batches))
    assert signals is not None
    loss, fault = _loss_and_fault(subject)
    weight_norm = tuple(_weight_norm(layer_module(model, layer)) for layer in layers)
    update_ratio = (math.nan,) * len(layers)
    wanted = [*probes, *([CHECK] if check else [])]
    if is_fresh and _recurrent(model):
        wanted.append("hidden-states")
    if fault is None:
        results = _make_probes(subject, wanted, timer)
        if is_fresh:
            update_ratio = _first_update(subject, layers)
        results = _make_steps(subject, wanted, timer, results)
    else:
        timer.refused |= {name: _NOT_FINITE for name in wanted if name != "signals"}
        results = ProbeResults()
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
        probes=replace(results, costs=timer.costs, refused=timer.refused),
    )


class _Timer:
    """Makes probes, and notes what each has cost or why it was refused."""

    def __init__(self, subject: Subject) -> None:
        inputs, labels = subject.batches[0]
        twin = copy.deepcopy(subject.model)
        self._device = inputs.device

        def seconds_of_a_pass() -> float:
            began = perf_counter()
            _backward(twin, inputs, labels)
            _wait(self._device)
            return perf_counter() - began

        # The least of three, since the first one allocates.
        self._seconds_per_pass = min(seconds_of_a_pass() for _ in range(3))
        self.costs: dict[str, ProbeCost] = {}
        self.refused: dict[str, str] = {}

    def __call__(self, name: str, probe: Callable[[], _Result]) -> _Result | None:
        """Make a probe; None where it is refused."""
        began = perf_counter()
        try:
            result = probe()
        except UserError as error:
            self.refused[name] = error.problem
            return None
        _wait(self._device)
        seconds = perf_counter() - began
        self.costs[name] = ProbeCost(seconds, seconds / self._seconds_per_pass)
        return result


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize()


def _backward(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Put the gradients of a batch into `p.grad` and return the loss; no random state moves."""
    model.zero_grad(set_to_none=True)
    with random_states_kept(model):
        loss = F.cross_entropy(model(inputs), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def _loss_and_fault(subject: Subject) -> tuple[float, FaultRecord | None]:
    """Return the mean loss over the probe set, and the first non-finite value met in it."""
    total, fault = 0.0, None
    twin = copy.deepcopy(subject.model)
    gradients = Gradients(twin, find_layers(twin))
    for inputs, labels in subject.batches:
        loss = _backward(twin, inputs, labels)
        total += float(loss) * len(labels)
        if fault is None and not bool(torch.isfinite(loss + gradients.norms().sum())):
            phase, layer = locate_fault(twin, inputs, labels, gradients)
            fault = FaultRecord(subject.steps_made + 1, 0, phase, layer, float(loss), ())
    return total / sum(len(labels) for _, labels in subject.batches), fault


def _weight_norm(module: nn.Module) -> float:
    return math.sqrt(
        sum(sum_of_squares(p.detach().cpu()) for p in module.parameters(recurse=False))
    )


def _recurrent(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [pair for pair in model.named_modules() if isinstance(pair[1], nn.RNNBase)]


def _make_probes(subject: Subject, wanted: Sequence[str], timer: _Timer) -> ProbeResults:
    """Make the probes that leave the model as it is."""
    model = subject.model
    inputs, labels = subject.batches[0]
    makers: dict[str, Callable[[], object]] = {
        "histograms": lambda: gradient_histograms(model, inputs, labels),
        "noise": lambda: gradient_noise(model, *_examples(subject, _NOISE_EXAMPLES)),
        "sharpness": lambda: sharpness(model, inputs, labels, optimizer=subject.optimizer),
        "descent": lambda: loss_along_gradient(model, inputs, labels),
        "hidden-states": lambda: hidden_state_gradients(model, inputs, labels),
        CHECK: lambda: check_gradients(model, *_examples(subject, _CHECK_EXAMPLES)),
    }
    made: dict[str, Any] = {
        name.replace("-", "_"): timer(name, make) for name, make in makers.items() if name in wanted
    }
    return ProbeResults(**made)


def _examples(subject: Subject, count: int) -> tuple[Tensor, Tensor]:
    """Return the first examples of the probe set."""
    inputs, labels = (torch.cat(tensors) for tensors in zip(*subject.batches, strict=True))
    return inputs[:count], labels[:count]


def _first_update(subject: Subject, layers: tuple[LayerInfo, ...]) -> tuple[float, ...]:
    """Make the first step, and return each layer's update ratio."""
    probe = LayerProbe(subject.model, layers, zero_parameters(subject.model))
    subject.step(probe)
    return probe.record(1).update_ratio


def _make_steps(
    subject: Subject, wanted: Sequence[str], timer: _Timer, results: ProbeResults
) -> ProbeResults:
    """Make the probes that look at the next training steps."""
    cosine = timer("cosine", lambda: _cosines(subject)) if "cosine" in wanted else None
    alpha = timer("alpha", lambda: _alphas(subject)) if "alpha" in wanted else None
    return replace(results, cosine=cosine, alpha=alpha)


def _cosines(subject: Subject) -> tuple[float, ...]:
    cosine, values = StepCosine(), []
    for _ in range(_STEPS + 1):
        subject.step()
        values.append(cosine([p.grad for p in subject.model.parameters() if p.grad is not None]))
    return tuple(values[1:])


def _alphas(subject: Subject) -> tuple[StepFit, ...]:
    fits = []
    for _ in range(_STEPS):
        before = {name: p.detach().clone() for name, p in subject.model.named_parameters()}
        inputs, labels = subject.step()
        fits.append(step_alpha(subject.model, before, inputs, labels))
    return tuple(fits)
