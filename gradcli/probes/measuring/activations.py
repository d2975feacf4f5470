"""What goes forward through each layer and what comes back, on real batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradcli.gradients.layers import find_layers, layer_module
from gradcli.gradients.norms import accumulator_dtype, sum_of_squares
from gradcli.gradients.tensors import with_gradient
from gradcli.objectives import LossFunction
from gradcli.objectives.shipped import cross_entropy
from gradcli.probes.measuring.elementwise import Shape, activation_shape, value_and_derivative
from gradcli.probes.measuring.slope import LogSlope, log_slope
from gradcli.probes.measuring.untouched import untouched
from gradcli.records import LayerInfo

#: A unit is saturated for an example if the activation's derivative is below this share of its
#: largest value: beyond +-2.18 for tanh and +-4.36 for the sigmoid.
SATURATED_BELOW = 0.05

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Moments:
    """Statistics over all elements of a tensor and all examples; NaN if there are none."""

    mean: float
    std: float
    """The root of the mean squared deviation from the mean."""
    rms: float
    """The root of the mean square."""


@dataclass(frozen=True, slots=True)
class LayerSignal:
    """One layer over the probe set. The loss is the mean over its examples."""

    layer: str
    weight_grad_norm: float
    """The norm of the gradient w.r.t. the layer's parameters; NaN if none is trained."""
    input_grad_norm: float
    """The norm of the gradient w.r.t. the layer's input, over all examples; NaN if the input has
    no gradient (indices into an embedding) or the layer was not called."""
    output: Moments
    """Of the layer's own output: what enters the activation."""
    output_grad: Moments
    """Of the gradient w.r.t. that output."""
    activation: Moments
    """Of the output of the activation that follows; NaN if none follows."""
    units: int
    """The units of that activation: features, or channels of a convolution; 0 without one."""
    dead_units: int
    """How many of them were exactly zero for every example, and at every position."""
    saturated_fraction: float
    """The share of the activation's elements whose derivative is below `SATURATED_BELOW` of its
    largest. For ReLU and its variants these are the inactive ones: about half in a healthy
    model."""
    saturates: bool
    """Whether the activation is flat at both ends, so that saturation is a fault."""
    weight_rms: float
    """Of the elements of the layer's largest matrix; NaN if it has none."""
    weight_std_over_lecun: float
    """Their standard deviation times sqrt(fan_in): 1 keeps the variance of a linear signal, and
    sqrt(2) that of ReLU's (He et al. 2015, arXiv 1502.01852, section 2.2)."""

    @property
    def dead_fraction(self) -> float:
        """The share of dead units; NaN without an activation."""
        return self.dead_units / self.units if self.units else math.nan


@dataclass(frozen=True, slots=True)
class SignalReport:
    """All layers, in the order of `find_layers`, and how their gradients change with depth.

    The slopes are taken over the layers that have a matrix.
    """

    examples: int
    layers: tuple[LayerSignal, ...]
    weight_grad_slope: LogSlope
    input_grad_slope: LogSlope


def probe_signals(
    model: nn.Module, batches: Sequence[Batch], loss: LossFunction = cross_entropy
) -> SignalReport:
    """Send batches forward through the model and gradients back, and measure every layer.

    Costs one forward-backward pass per batch, with a few reductions for each layer and another
    evaluation of each activation: two to four passes in all, or a dozen if layers are many and
    narrow. Takes memory for one batch and one gradient.

    The activation of a layer is the next activation module to run, if no other layer with a
    matrix runs before it; norm layers in between share it. An activation that is not a module
    (`torch.relu` in a `forward`) is not seen.

    Args:
        model: maps inputs to outputs.
        batches: the probe set, as pairs of inputs (b, ...) and targets (b, ...).
        loss: of outputs and targets, ().
    """
    layers = find_layers(model)
    examples = sum(len(targets) for _, targets in batches)
    tallies = [_LayerTally(layer_module(model, layer)) for layer in layers]
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    totals = {name: torch.zeros_like(p, requires_grad=False) for name, p in parameters.items()}
    with untouched(model), _Watch(model, tallies) as watch:
        for inputs, targets in batches:
            watch.begin_batch()
            leaf = with_gradient(inputs)  # the first layer's input must have one too
            part = loss(model(leaf.clone()), targets) * (len(targets) / examples)
            wanted = [*parameters.values(), *([leaf] if leaf.requires_grad else [])]
            gradients = torch.autograd.grad(part, wanted, allow_unused=True)
            for total, gradient in zip(totals.values(), gradients, strict=False):
                if gradient is not None:
                    total += gradient
    signals = tuple(
        tally.signal(layer, totals) for layer, tally in zip(layers, tallies, strict=True)
    )
    with_matrix = [
        signal for layer, signal in zip(layers, signals, strict=True) if len(layer.shape) >= 2
    ]
    return SignalReport(
        examples=examples,
        layers=signals,
        weight_grad_slope=log_slope([signal.weight_grad_norm for signal in with_matrix]),
        input_grad_slope=log_slope([signal.input_grad_norm for signal in with_matrix]),
    )


class _MomentSum:
    """Sums up what moments are computed from."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, 0.0, 0.0

    def add(self, tensor: Tensor) -> None:
        values = tensor.detach().to(accumulator_dtype(tensor.device))
        self.count += values.numel()
        self.total += float(values.sum())
        self.squares += float(values.square().sum())

    def moments(self) -> Moments:
        if not self.count:
            return Moments(math.nan, math.nan, math.nan)
        mean, mean_square = self.total / self.count, self.squares / self.count
        variance = mean_square - mean**2
        # Rounding can make the variance of a constant negative; a NaN must stay one.
        return Moments(mean, math.sqrt(0.0 if variance < 0 else variance), math.sqrt(mean_square))


class _LayerTally:
    """What the hooks collect about one layer, over all its calls."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.output, self.output_grad, self.activation = _MomentSum(), _MomentSum(), _MomentSum()
        self.has_matrix = any(p.ndim >= 2 for p in module.parameters(recurse=False))
        self._input_squares: list[float] = []
        self._ever_nonzero: Tensor | None = None
        self._flat = 0
        self._saturates = False

    def see_input(self, tensor: Tensor) -> None:
        if tensor.requires_grad:
            tensor.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: self._input_squares.append(_squares(gradient))
            )

    def see_output(self, tensor: Tensor) -> None:
        self.output.add(tensor)
        if tensor.requires_grad:
            tensor.register_hook(self.output_grad.add)  # type: ignore[no-untyped-call]

    def see_activation(self, values: Tensor, derivative: Tensor, shape: Shape) -> None:
        self.activation.add(values)
        self._flat += int((derivative.abs() < SATURATED_BELOW * shape.largest_derivative).sum())
        self._saturates = shape.saturates
        units = values.movedim(_unit_dimension(self.module), 0).flatten(start_dim=1)
        nonzero = (units != 0).any(dim=1)
        known = self._ever_nonzero
        self._ever_nonzero = nonzero if known is None else known | nonzero

    def signal(self, layer: LayerInfo, gradients: dict[str, Tensor]) -> LayerSignal:
        trained = [p.name for p in layer.parameters if p.name in gradients]
        norm = math.sqrt(sum(_squares(gradients[name]) for name in trained))
        units = self._ever_nonzero
        elements = self.activation.count
        rms, scaled_std = _weight_scale(self.module)
        return LayerSignal(
            layer=layer.name,
            weight_grad_norm=norm if trained else math.nan,
            input_grad_norm=(
                math.sqrt(sum(self._input_squares)) if self._input_squares else math.nan
            ),
            output=self.output.moments(),
            output_grad=self.output_grad.moments(),
            activation=self.activation.moments(),
            units=0 if units is None else units.numel(),
            dead_units=0 if units is None else int((~units).sum()),
            saturated_fraction=self._flat / elements if elements else math.nan,
            saturates=self._saturates,
            weight_rms=rms,
            weight_std_over_lecun=scaled_std,
        )


class _Watch:
    """The hooks on a model's layers and activations, while the context lasts.

    They are on tensors and forward passes: full backward hooks on modules fail if an activation
    works in place (pytorch issue 61519).
    """

    def __init__(self, model: nn.Module, tallies: list[_LayerTally]) -> None:
        self._tallies = tallies
        self._activations: list[tuple[nn.Module, Shape]] = []
        for module in model.modules():
            shape = activation_shape(module, SATURATED_BELOW)
            if shape is not None:
                self._activations.append((module, shape))
        self._handles: list[RemovableHandle] = []
        # The layers whose activation has not run yet.
        self._waiting: list[_LayerTally] = []

    def __enter__(self) -> _Watch:
        activations = {module for module, _ in self._activations}
        for tally in self._tallies:
            self._watch_layer(tally, waits=tally.module not in activations)
        for module, shape in self._activations:
            self._watch_activation(module, shape)
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def begin_batch(self) -> None:
        self._waiting = []

    def _watch_layer(self, tally: _LayerTally, waits: bool) -> None:
        def before(module: nn.Module, arguments: Any) -> None:
            if arguments and isinstance(arguments[0], Tensor):
                tally.see_input(arguments[0])

        def after(module: nn.Module, arguments: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, Tensor) and first.is_floating_point():
                tally.see_output(first)
            if waits:
                self._waiting = [tally] if tally.has_matrix else [*self._waiting, tally]

        self._handles.append(tally.module.register_forward_pre_hook(before))
        self._handles.append(tally.module.register_forward_hook(after))

    def _watch_activation(self, activation: nn.Module, shape: Shape) -> None:
        def before(module: nn.Module, arguments: Any) -> None:
            # Before, since an activation in place overwrites its input.
            if self._waiting and arguments and isinstance(arguments[0], Tensor):
                values, derivative = value_and_derivative(module, arguments[0])
                for tally in self._waiting:
                    tally.see_activation(values, derivative, shape)
            self._waiting = []

        self._handles.append(activation.register_forward_pre_hook(before))


def _unit_dimension(module: nn.Module) -> int:
    """Return which dimension of a layer's output counts its units."""
    channels_second = (
        nn.modules.conv._ConvNd,
        nn.modules.batchnorm._NormBase,
        nn.GroupNorm,
    )
    return 1 if isinstance(module, channels_second) else -1


@torch.no_grad()
def _weight_scale(module: nn.Module) -> tuple[float, float]:
    """Return rms and std * sqrt(fan_in) of the largest matrix that `module` owns."""
    matrices = [p for p in module.parameters(recurse=False) if p.ndim >= 2]
    if not matrices:
        return math.nan, math.nan
    matrix = max(matrices, key=lambda parameter: parameter.numel()).double()
    fan_in = math.prod(matrix.shape[1:])
    return (
        float(matrix.square().mean().sqrt()),
        float(matrix.std(correction=0)) * math.sqrt(fan_in),
    )


def _squares(tensor: Tensor) -> float:
    return sum_of_squares(tensor.detach().cpu())
