"""Augmentation by the transforms of torchvision, `torchvision.transforms.v2`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor

from gradcli.data.augment.augmentation import Augmentation
from gradcli.errors import UserError, exception_in_words, nearest
from gradcli.extras.torchvision_import import import_torchvision

_PACKAGE: Final = "torchvision.transforms.v2"
_WHERE: Final = "augment.transforms"


class V2Transforms(Augmentation):
    """Transforms of torchvision, one after the other, drawn anew for each image.

    Args:
        transforms: each with its class, `_target_: torchvision.transforms.v2.NAME`, and that
            class's keyword arguments, in which transforms may stand again, as in `RandomApply`.

    Raises:
        UserError: if torchvision has no such transform, or it does not take the arguments.
    """

    def __init__(self, transforms: Sequence[dict[str, Any]]) -> None:
        if not transforms:
            raise UserError(
                "An augmentation without transforms changes nothing.",
                where=_WHERE,
                hint="augment=none",
            )
        self._transforms = [_made(one) for one in transforms]

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image after all transforms."""
        for transform in self._transforms:
            image = transform(image)
        return image


class CropFlip(Augmentation):
    """A crop of the image's own size after padding, and a mirror image now and then.

    He et al. 2016, "Deep residual learning for image recognition", section 4.2.

    Args:
        padding: the pixels of 0 on each side.
        flip: the probability of a mirror image.
    """

    def __init__(self, padding: int = 4, flip: float = 0.5) -> None:
        if padding < 0 or not 0 <= flip <= 1:
            raise UserError(
                f"augment.padding is {padding} and augment.flip {flip}; a padding is 0 or more, "
                "and a probability from 0 to 1.",
                where="augment",
                hint="augment.padding=4 augment.flip=0.5",
            )
        self._padding, self._v2 = padding, _transforms()
        self._flip = self._v2.RandomHorizontalFlip(flip)

    def __call__(self, image: Tensor) -> Tensor:
        """Return a crop of the image, perhaps mirrored."""
        crop = self._v2.RandomCrop(tuple(image.shape[-2:]), padding=self._padding)
        changed: Tensor = self._flip(crop(image))
        return changed


def _made(described: Any) -> Any:
    """Return a transform.

    Raises:
        UserError: if it is none.
    """
    if not isinstance(described, dict) or not isinstance(described.get("_target_"), str):
        raise UserError(
            f"A transform is a class with its arguments, not {described!r}.",
            where=_WHERE,
            hint=f"{{_target_: {_PACKAGE}.RandomHorizontalFlip, p: 0.5}}",
        )
    transform = _class(described["_target_"])
    arguments = {name: _argument(value) for name, value in described.items() if name != "_target_"}
    try:
        return transform(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{transform.__name__} cannot be built: {exception_in_words(error)}",
            where=_WHERE,
            hint=f"{transform.__name__}{inspect.signature(transform)}",
        ) from error


def _argument(value: Any) -> Any:
    """Return an argument with the transforms in it made."""
    if isinstance(value, list):
        return [_argument(one) for one in value]
    return _made(value) if isinstance(value, dict) and "_target_" in value else value


def _class(target: str) -> type[Any]:
    """Return the class of a transform: nothing else can be named, so that a config runs no code.

    Raises:
        UserError: if torchvision has no transform of this name.
    """
    v2 = _transforms()
    package, _, name = target.rpartition(".")
    classes = {
        key: one
        for key, one in vars(v2).items()
        if inspect.isclass(one) and issubclass(one, v2.Transform) and one is not v2.Transform
    }
    if package != _PACKAGE or name not in classes:
        raise UserError(
            f"'{target}' is not a transform of {_PACKAGE}.",
            where=_WHERE,
            choices=[f"{_PACKAGE}.{one}" for one in nearest(name, classes)],
            hint="a class of your own that derives from gradcli.data.Augmentation does what else "
            "there is to do",
        )
    return classes[name]


def _transforms() -> Any:
    """Return torchvision's transforms.

    Raises:
        UserError: if torchvision cannot be imported.
    """
    try:
        return import_torchvision("transforms.v2")
    except Exception as error:  # a broken installation fails in many ways
        raise UserError(
            f"torchvision cannot be imported: {exception_in_words(error)}",
            where="augment",
            hint="pip install torchvision, for the installed torch; or augment=none",
        ) from error
