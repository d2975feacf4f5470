"""The gradient of the loss w.r.t. each hidden state of a recurrent module, through time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradcli.errors import UserError
from gradcli.gradients.tensors import with_gradient
from gradcli.objectives import LossFunction
from gradcli.objectives.shipped import cross_entropy
from gradcli.probes.measuring.slope import LogSlope, log_slope
from gradcli.probes.measuring.untouched import untouched


@dataclass(frozen=True, slots=True)
class HiddenStateGradients:
    """||dL/dh_t|| over t = 1 ... T for one layer and direction of a recurrent module."""

    module: str
    layer: int
    """Which of the module's stacked layers, from 0 at the input."""
    reverse: bool
    """Whether it reads the sequence from its end."""
    hidden: NDArray[np.float64]
    """The norms over batch and units of the gradient of the mean loss w.r.t. h_t, (T,), in the
    order of the sequence: along all paths from h_t to the loss."""
    cell: NDArray[np.float64] | None
    """The same w.r.t. the cell state c_t of an LSTM, (T,); None for other modules."""
    slope: LogSlope
    """Of `hidden`, in decades per time step. If the loss depends on the last state, it is positive
    for a gradient that vanishes through time."""


def hidden_state_gradients(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: LossFunction = cross_entropy
) -> tuple[HiddenStateGradients, ...]:
    """Measure how much of the gradient arrives at each time step of a model's recurrent modules.

    Pascanu, Mikolov and Bengio 2013, arXiv 1211.5063, section 2. Fused recurrent kernels do not
    expose their states, so during the pass each `torch.nn.RNN`, `GRU` and `LSTM` is replaced by
    the same computation, step by step, with the module's own weights. Costs one forward-backward
    pass, several times slower than a fused one.

    Args:
        model: maps inputs to outputs.
        inputs: a batch, (b, ...).
        targets: its targets, (b, ...).
        loss: of outputs and targets, ().

    Raises:
        UserError: the model has no such module, or gives it a packed or unbatched sequence.
    """
    modules = recurrent_modules(model)
    if not modules:
        raise UserError(
            "hidden states are probed in torch.nn.RNN, GRU and LSTM, and the model has none",
            where="model",
            hint="model=rnn",
        )
    traces: list[_Trace] = []
    handles: list[RemovableHandle] = []
    with untouched(model):
        try:
            for name, module in modules.items():
                hook = _unrolling_hook(name, traces)
                handles.append(module.register_forward_hook(hook, with_kwargs=True))
            # Frozen weights must not disconnect the states from the loss.
            value = loss(model(with_gradient(inputs).clone()), targets)
        finally:
            for handle in handles:
                handle.remove()
        states = [state for trace in traces for state in (*trace.hidden, *trace.cell)]
        gradients = torch.autograd.grad(value, states, allow_unused=True, materialize_grads=True)
    norms = iter([float(torch.linalg.vector_norm(g, dtype=torch.float64)) for g in gradients])
    return tuple(_take_norms(trace, lambda: next(norms)) for trace in traces)


def recurrent_modules(model: nn.Module) -> dict[str, nn.RNNBase]:
    """Return the recurrent modules of `model` by name."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, nn.RNNBase)
    }


@dataclass(slots=True)
class _Trace:
    """The states of one layer and direction in the order of the sequence, (b, units) each."""

    module: str
    layer: int
    reverse: bool
    hidden: list[Tensor]
    cell: list[Tensor]


def _take_norms(trace: _Trace, following: Callable[[], float]) -> HiddenStateGradients:
    hidden = np.array([following() for _ in trace.hidden])
    cell = np.array([following() for _ in trace.cell])
    return HiddenStateGradients(
        module=trace.module,
        layer=trace.layer,
        reverse=trace.reverse,
        hidden=hidden,
        cell=cell if len(cell) else None,
        slope=log_slope(hidden.tolist()),
    )


def _unrolling_hook(name: str, traces: list[_Trace]) -> Callable[..., Any]:
    """Return a forward hook that replaces the module's computation by the unrolled one."""

    def hook(module: nn.RNNBase, arguments: Any, keywords: dict[str, Any], output: Any) -> Any:
        sequence, initial = _arguments(*arguments, **keywords)
        if not isinstance(sequence, Tensor) or sequence.ndim != 3:
            raise UserError(
                f"{name} is given a packed or unbatched sequence, which cannot be unrolled here",
                where=name,
            )
        return _unroll(name, module, sequence, initial, traces)

    return hook


def _arguments(input: Any, hx: Any = None) -> tuple[Any, Any]:  # noqa: A002
    """Name the arguments as the `forward` of torch's recurrent modules does."""
    return input, hx


def _unroll(
    name: str, module: nn.RNNBase, sequence: Tensor, initial: Any, traces: list[_Trace]
) -> tuple[Tensor, Any]:
    """Compute what `module` does, one time step after another.

    The equations are those in the documentation of `torch.nn.RNN`, `GRU` and `LSTM`.

    Returns:
        The outputs, (b, t, units) if batch first, else (t, b, units); and the last states as
        the module gives them.
    """
    signal = sequence.transpose(0, 1) if module.batch_first else sequence  # (t, b, features)
    directions = 2 if module.bidirectional else 1
    rows = module.num_layers * directions
    is_lstm = isinstance(module, nn.LSTM)
    given_hidden, given_cell = initial if is_lstm and initial is not None else (initial, None)
    hidden_0 = _states(given_hidden, signal, rows, module.proj_size or module.hidden_size)
    cell_0 = _states(given_cell, signal, rows, module.hidden_size)
    last_hidden, last_cell = [], []
    for layer in range(module.num_layers):
        outputs = []
        for reverse in range(directions):
            row = layer * directions + reverse
            cell = _Cell(module, f"_l{layer}{'_reverse' if reverse else ''}")
            trace = _Trace(name, layer, bool(reverse), [], [])
            hidden, memory = hidden_0[row], cell_0[row]
            for features in reversed(signal.unbind()) if reverse else signal.unbind():
                hidden, memory = cell(features, hidden, memory)
                trace.hidden.append(hidden)
                if is_lstm:
                    trace.cell.append(memory)
            last_hidden.append(hidden)
            last_cell.append(memory)
            if reverse:
                trace.hidden.reverse()
                trace.cell.reverse()
            traces.append(trace)
            outputs.append(torch.stack(trace.hidden))
        signal = torch.cat(outputs, dim=-1)
        if layer < module.num_layers - 1:
            signal = F.dropout(signal, module.dropout, module.training)
    final = torch.stack(last_hidden)
    return (
        signal.transpose(0, 1) if module.batch_first else signal,
        (final, torch.stack(last_cell)) if is_lstm else final,
    )


def _states(given: Tensor | None, signal: Tensor, rows: int, units: int) -> tuple[Tensor, ...]:
    """Return the initial states, (b, units) for each layer and direction; zeros by default."""
    if given is not None:
        return given.unbind()
    return signal.new_zeros(rows, signal.shape[1], units).unbind()


class _Cell:
    """One layer and direction of a recurrent module as a function of one time step."""

    def __init__(self, module: nn.RNNBase, suffix: str) -> None:
        self._mode = module.mode

        def weight(name: str) -> Any:
            return getattr(module, name + suffix, None)

        self._from_input = (weight("weight_ih"), weight("bias_ih"))
        self._from_hidden = (weight("weight_hh"), weight("bias_hh"))
        self._projection = weight("weight_hr")

    def __call__(self, features: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Map (b, features), (b, units) and an LSTM's (b, units) to the next two states."""
        from_input = F.linear(features, *self._from_input)
        from_hidden = F.linear(hidden, *self._from_hidden)
        match self._mode:
            case "RNN_TANH":
                return torch.tanh(from_input + from_hidden), memory
            case "RNN_RELU":
                return torch.relu(from_input + from_hidden), memory
            case "GRU":
                reset_i, update_i, new_i = from_input.chunk(3, dim=1)
                reset_h, update_h, new_h = from_hidden.chunk(3, dim=1)
                new = torch.tanh(new_i + torch.sigmoid(reset_i + reset_h) * new_h)
                update = torch.sigmoid(update_i + update_h)
                return (1 - update) * new + update * hidden, memory
            case _:
                enter, forget, new, leave = (from_input + from_hidden).chunk(4, dim=1)
                memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * torch.tanh(new)
                hidden = torch.sigmoid(leave) * torch.tanh(memory)
                if self._projection is not None:
                    hidden = F.linear(hidden, self._projection)
                return hidden, memory
