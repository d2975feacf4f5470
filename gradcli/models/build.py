"""From a model's class and the choices around it to a module that is ready to train."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradcli.errors import UserError, exception_in_words, place_in_own_code
from gradcli.models.activation import Activation
from gradcli.models.initialisation import Initialisation
from gradcli.models.zoo import ZooModel


def build_model(
    model_class: type[nn.Module],
    kwargs: Mapping[str, Any],
    *,
    activation: Activation,
    initialisation: Initialisation,
    input_shape: tuple[int, ...],
    classes: int,
    seed: int,
    input_type: torch.dtype = torch.float32,
    per_position: bool = False,
) -> nn.Module:
    """Build a model on the CPU whose weights depend only on the seed.

    The global random state does not change. `input_shape`, `classes` and `activation` are passed
    on if the class's signature names them, so that any `nn.Module` can be built. A class without
    `activation` is initialised with the gain of the identity.

    Args:
        model_class: turns inputs (b, *`input_shape`), such as float32 images (b, c, h, w), into
            logits (b, classes).
        kwargs: the class's other keyword arguments.
        activation: makes a fresh activation at each call.
        initialisation: fills the weights.
        input_shape: of an example: (channels, height, width) of an image.
        classes: the number of outputs: the logits of a classifier.
        seed: the run's seed. Weights have their own random stream, apart from those of data order
            and dropout, which come from the same seed.
        input_type: of the inputs: int64 for tokens.
        per_position: whether the model has outputs for each position of a sequence, as for the next
            token: (b, *`input_shape`, classes).

    Raises:
        UserError: the class refuses its arguments, a module works in place, or the model does
            not turn a batch of inputs into a batch of such outputs.
    """
    offered = {"input_shape": input_shape, "classes": classes, "activation": activation}
    accepted = inspect.signature(model_class).parameters
    supplied = {name: value for name, value in offered.items() if name in accepted}
    with _initialisation_stream(seed):
        model = _made(lambda: model_class(**{**supplied, **kwargs}), model_class.__name__)
        _refuse_in_place(model)
        # Lazy modules get their shapes here, so this comes before the initialisation.
        _rehearse(
            model,
            torch.zeros(2, *input_shape, dtype=input_type),
            (2, *(input_shape if per_position else ()), classes),
        )
        initialisation(model, activation() if "activation" in accepted else nn.Identity())
    return model


def build_own_model(
    make_model: Callable[[], nn.Module],
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Callable[[Any, Any], Tensor],
    scores: Mapping[str, Callable[[Any, Any], Tensor]],
    seed: int,
) -> nn.Module:
    """Build the model that a problem of the user's own brings, on the CPU.

    Its weights are what its constructor makes of them, from the random stream of the seed.

    Args:
        make_model: makes it.
        inputs: of two examples, (2, ...).
        targets: theirs, (2, ...).
        loss: of outputs and targets, ().
        scores: the metrics by their names, each a function of outputs and targets.
        seed: the run's seed.

    Raises:
        UserError: it is no module, works in place, or cannot be computed on the two examples.
    """
    name = getattr(make_model, "__name__", type(make_model).__name__)
    with _initialisation_stream(seed):
        model = _made(make_model, name)
        if not isinstance(model, nn.Module):
            raise UserError(
                f"{name} returned a {type(model).__name__}, not a torch.nn.Module.", where="model"
            )
        _refuse_in_place(model)
        _rehearse_with_loss(model, inputs, targets, loss, scores)
    return model


@contextmanager
def _initialisation_stream(seed: int) -> Iterator[None]:
    """Draw from the weights' own random stream, and restore the caller's afterwards."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators, which are not forked.
        torch.default_generator.manual_seed(_initialisation_seed(seed))
        yield


def _made(make_model: Callable[[], nn.Module], name: str) -> nn.Module:
    try:
        return make_model()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"{name} cannot be built: {exception_in_words(error)}",
            where=place_in_own_code(error) or "model",
        ) from error


def _rehearse_with_loss(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    loss: Callable[[Any, Any], Tensor],
    scores: Mapping[str, Callable[[Any, Any], Tensor]],
) -> None:
    """Send two examples through the model, the loss and the metrics; check what they return."""
    model.eval()
    try:
        outputs = model(inputs)
    except Exception as error:
        raise UserError(
            f"{type(model).__name__} cannot take inputs of shape {tuple(inputs.shape)}, "
            f"{str(inputs.dtype).removeprefix('torch.')}: {exception_in_words(error)}",
            where=place_in_own_code(error) or "model",
            hint=None if inputs.dtype == torch.float32 else "inputs.float(), or a model for these",
        ) from error
    model.train()
    try:
        value = loss(outputs, targets)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"The loss cannot be computed of outputs {_described(outputs)} and targets "
            f"{_described(targets)}: {exception_in_words(error)}",
            where=place_in_own_code(error) or "loss",
            hint=None
            if isinstance(outputs, Tensor)
            else "a loss of your own that takes what the model returns",
        ) from error
    if not isinstance(value, Tensor) or value.ndim or not value.is_floating_point():
        raise UserError(
            f"The loss of a batch must be a single number, a floating-point tensor of shape (); "
            f"it is {_described(value)}.",
            where="loss",
            hint="the mean over the examples: loss.mean()",
        )
    if not value.requires_grad and any(p.requires_grad for p in model.parameters()):
        raise UserError(
            "The loss has no gradient: it does not depend on the model's parameters, or only on "
            "numbers that were taken out of the graph (detach, item, argmax, numpy).",
            where="loss",
            hint="a loss that is computed of the outputs by differentiable functions",
        )
    for name, score in scores.items():
        before = copy.deepcopy(_detached(outputs)), targets.clone()
        try:
            with torch.no_grad():
                score(_detached(outputs), targets)
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"The metric {name} cannot be computed of outputs {_described(outputs)} and "
                f"targets {_described(targets)}: {exception_in_words(error)}",
                where=place_in_own_code(error) or f"metric {name}",
            ) from error

        if not all(map(_alike, before, (_detached(outputs), targets))):
            raise UserError(
                f"The metric {name} changes the outputs or the targets in place, which would "
                "spoil the next metric.",
                where=f"metric {name}",
                hint="outputs - targets in place of outputs.sub_(targets)",
            )


def _detached(outputs: Any) -> Any:
    """Return outputs without their graph, on the same memory; what is no tensor as it is."""
    return outputs.detach() if isinstance(outputs, Tensor) else outputs


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are equal, as far as they are tensors; NaN is like NaN."""
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return True
    return bool(((one == other) | ((one != one) & (other != other))).all())


def _described(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def _initialisation_seed(seed: int) -> int:
    """Derive the seed of the weights' own random stream."""
    digest = hashlib.blake2b(f"initialisation of run seed {seed}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def _refuse_in_place(model: nn.Module) -> None:
    """Refuse modules that overwrite their input, because hooks on modules read the gradients.

    If the next module overwrites the output of a module with a full backward hook, PyTorch raises
    an error in the middle of the forward pass (pytorch issue 61519).
    """
    for name, module in model.named_modules():
        if getattr(module, "inplace", False):
            raise UserError(
                f"{name} ({type(module).__name__}) works in place, which breaks the hooks that "
                "read gradients",
                where=name,
                hint="activation.inplace=false",
            )


@torch.no_grad()
def _rehearse(model: nn.Module, inputs: Tensor, output_shape: tuple[int, ...]) -> None:
    """Send two blank examples (2, ...) through the model and check the outputs' shape."""
    input_shape, name = tuple(inputs.shape[1:]), type(model).__name__
    model.eval()
    try:
        outputs = model(inputs)
    except UserError:
        raise
    except Exception as error:
        if isinstance(model, ZooModel):
            raise model.refusal(input_shape, error) from error
        if not inputs.is_floating_point() and type(model).__module__.startswith("gradcli."):
            raise UserError(
                f"{name} reads numbers; an example of this data set is a sequence of "
                f"{' x '.join(map(str, input_shape))} tokens.",
                where="model",
                hint="model=charlm, which reads tokens",
            ) from error
        of_type = str(inputs.dtype).removeprefix("torch.")
        raise UserError(
            f"{name} cannot take {_kind(inputs)} of shape {input_shape}, {of_type}: "
            f"{exception_in_words(error)}",
            where=place_in_own_code(error) or "model",
            hint=None if inputs.is_floating_point() else "a model of tokens, such as model=charlm",
        ) from error
    model.train()
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if shape != output_shape:
        expected = ", ".join(map(str, ("batch", *output_shape[1:])))
        raise UserError(
            f"{name} must give outputs of shape ({expected}); for two {_kind(inputs)} it gave "
            f"{shape}",
            where="model",
        )


def _kind(inputs: Tensor) -> str:
    if not inputs.is_floating_point():
        return "sequences"
    return "images" if inputs.dim() == 4 else "examples"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a model cannot take a batch: which module objects, of what type, and in which words."""

    module: str
    """Its name in the model; empty if it is the model itself."""
    kind: str
    words: str
    place: str
    """FILE:LINE in the user's own code, if it is there."""


@torch.no_grad()
def refusal_of_one_example(
    model: nn.Module, example: Tensor, output_shape: tuple[int, ...] | None
) -> Refusal | None:
    """Return why a model cannot be trained on a batch of one example; None if it can.

    Batch norm cannot, unless it normalises over pixels too; nor can a model that squeezes its
    output.

    Args:
        model: on the CPU, and not used afterwards: its buffers change.
        example: a batch of one, (1, ...).
        output_shape: of its outputs for the example; None if any will do.
    """
    entered: list[str] = []

    def leave(*_: object) -> None:
        entered.pop()

    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: entered.append(name))
        module.register_forward_hook(leave)
    model.train()
    with torch.random.fork_rng(devices=[]):
        try:
            found = model(example)
        except Exception as error:
            name = entered[-1] if entered else ""
            kind = type(model.get_submodule(name)).__name__
            return Refusal(name, kind, exception_in_words(error), place_in_own_code(error))
    if output_shape is not None and (shape := tuple(found.shape)) != (1, *output_shape):
        words = f"it gives outputs of shape {shape}, not {(1, *output_shape)}"
        return Refusal("", type(model).__name__, words, "")
    return None
