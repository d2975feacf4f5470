"""From a model's class and the choices around it to a module that is ready to train."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gradcli.errors import UserError, exception_in_words, place_in_own_code
from gradcli.models.activation import Activation
from gradcli.models.initialisation import Initialisation


def build_model(
    model_class: type[nn.Module],
    kwargs: Mapping[str, Any],
    *,
    activation: Activation,
    initialisation: Initialisation,
    input_shape: tuple[int, int, int],
    classes: int,
    seed: int,
) -> nn.Module:
    """Build a model on the CPU whose weights depend only on the seed.

    The global random state does not change. `input_shape`, `classes` and `activation` are passed
    on if the class's signature names them, so that any `nn.Module` can be built. A class without
    `activation` is initialised with the gain of the identity.

    Args:
        model_class: turns float32 images (b, c, h, w) into logits (b, classes).
        kwargs: the class's other keyword arguments.
        activation: makes a fresh activation at each call.
        initialisation: fills the weights.
        input_shape: (channels, height, width) of an image.
        classes: the number of logits.
        seed: the run's seed. Weights have their own random stream, apart from those of data order
            and dropout, which come from the same seed.

    Raises:
        UserError: the class refuses its arguments, a module works in place, or the model does
            not turn a batch of images into a batch of logits.
    """
    offered = {"input_shape": input_shape, "classes": classes, "activation": activation}
    accepted = inspect.signature(model_class).parameters
    supplied = {name: value for name, value in offered.items() if name in accepted}
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would also reseed the accelerators, which are not forked.
        torch.default_generator.manual_seed(_initialisation_seed(seed))
        try:
            model = model_class(**{**supplied, **kwargs})
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"{model_class.__name__} cannot be built: {exception_in_words(error)}",
                where=place_in_own_code(error) or "model",
            ) from error
        _refuse_in_place(model)
        # Lazy modules get their shapes here, so this comes before the initialisation.
        _rehearse(model, input_shape, classes)
        initialisation(model, activation() if "activation" in accepted else nn.Identity())
    return model


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
def _rehearse(model: nn.Module, input_shape: tuple[int, int, int], classes: int) -> None:
    """Send two blank images through the model and check the output's shape."""
    model.eval()
    try:
        logits = model(torch.zeros(2, *input_shape))
    except Exception as error:
        raise UserError(
            f"{type(model).__name__} cannot take images of shape {input_shape}: "
            f"{exception_in_words(error)}",
            where=place_in_own_code(error) or "model",
        ) from error
    model.train()
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    if shape != (2, classes):
        raise UserError(
            f"{type(model).__name__} must give logits of shape (batch, {classes}); "
            f"for two images it gave {shape}",
            where="model",
        )
