"""Networks of torchvision and timm, chosen by name, untrained, and fitted to the data."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import torch
from torch import nn

from gradcli.errors import UserError, exception_in_words, nearest
from gradcli.extras.missing import not_installed
from gradcli.extras.torchvision_import import import_torchvision
from gradcli.models.checks import require_image

_COLOURS: Final = 3
#: Networks with a second output, which only ImageNet's recipe uses, and which is left out.
_WITHOUT_SECOND_OUTPUT: Final = {
    name: {"aux_logits": False, "init_weights": True} for name in ("googlenet", "inception_v3")
}


class ZooModel(nn.Module):
    """A network of a library. Its layers are below `network`.

    Its weights are random, as its library draws them or as `init` says. It has activations of its
    own, and the config's is not used. They do not work in place, because hooks read gradients.

    Args:
        input_shape: (channels, height, width) of an image.
        classes: the number of logits.
        name: of the network; it must be given.

    Raises:
        UserError: no network is named, there is no such one, or the examples are no images.
    """

    library: ClassVar[str]

    def __init__(
        self, *, input_shape: tuple[int, ...], classes: int, name: str | None = None
    ) -> None:
        super().__init__()
        if not name:
            raise UserError(
                f"{self.library} has many networks; one must be named.",
                where="model",
                hint=f"model={self.library}.resnet18",
            )
        require_image(name, input_shape)
        self.name = name
        self.network = self._network(name, input_shape[0], classes)
        for module in self.network.modules():
            if getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]

    @abstractmethod
    def _network(self, name: str, channels: int, classes: int) -> nn.Module:
        """Return the network for images of so many channels."""

    def refusal(self, input_shape: tuple[int, ...], error: Exception) -> UserError:
        """Return the error about images (channels, height, width) on which the network failed."""
        height, width = input_shape[-2:]
        return UserError(
            f"{self.library}.{self.name} cannot take images of {height} x {width} pixels (height x "
            f"width): {exception_in_words(error)}",
            where="model",
            hint="model=resnet, which takes small images; or data.size=[224,224], which makes "
            "those of data=images larger",
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map float images (b, c, h, w) to logits (b, classes)."""
        logits: torch.Tensor = self.network(images)
        return logits


class TorchvisionModel(ZooModel):
    """A classifier of torchvision.

    If images have other than 3 channels, its first convolution is a new one for so many.
    """

    library = "torchvision"

    def _network(self, name: str, channels: int, classes: int) -> nn.Module:
        models = import_torchvision("models")
        _require_known("torchvision", name, models.list_models(module=models))
        chosen = _WITHOUT_SECOND_OUTPUT.get(name, {})
        network: nn.Module = models.get_model(name, weights=None, num_classes=classes, **chosen)
        if channels != _COLOURS:
            _replace_first_convolution(network, channels)
        return network


class TimmModel(ZooModel):
    """A network of timm, which fits its first layer to the channels of the images itself."""

    library = "timm"

    def _network(self, name: str, channels: int, classes: int) -> nn.Module:
        import_torchvision("models")  # timm does, and only for a torch that it was compiled for
        timm = _import_timm()
        _require_known("timm", name, timm.list_models())
        network: nn.Module = timm.create_model(name, num_classes=classes, in_chans=channels)
        return network


def _import_timm() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it deprecates in itself
            import timm
    except ImportError as error:
        raise not_installed("timm", "timm", error, what="This model") from error
    return timm


def _require_known(library: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise UserError(
            f"{library} has no network named '{name}'.",
            where="model.name",
            choices=[f"model={library}.{one}" for one in nearest(name, known)],
        )


def _replace_first_convolution(network: nn.Module, channels: int) -> None:
    """Put a new convolution for `channels` in the place of the first one, which reads colours."""
    name, first = next(
        (name, one) for name, one in network.named_modules() if isinstance(one, nn.Conv2d)
    )
    parent, _, child = name.rpartition(".")
    replacement = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        stride=first.stride,  # type: ignore[arg-type]
        padding=first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    setattr(network.get_submodule(parent), child, replacement)
