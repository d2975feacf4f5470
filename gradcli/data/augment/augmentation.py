"""What an augmentation is: a class that a YAML names and that changes one image."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor


class Augmentation(ABC):
    """A random change of a training image that a config can name with `_target_`.

    The keyword arguments of the constructor are keys of its YAML.
    """

    @abstractmethod
    def __call__(self, image: Tensor) -> Tensor:
        """Return the changed image.

        All that is random comes from torch's default generator on the CPU, which is seeded for
        each image: the same image in the same epoch of the same run is changed the same way.

        Args:
            image: a copy, (channels, height, width) on the CPU: the bytes of an image, before they
                are normalised, or what a problem of the user's own has.

        Returns:
            An image of the same shape and type.
        """


class NoAugmentation(Augmentation):
    """Leaves images as they are."""

    def __call__(self, image: Tensor) -> Tensor:
        """Return the image itself."""
        return image
