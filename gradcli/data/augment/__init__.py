"""Training images changed at random, each one anew in every epoch."""

from gradcli.data.augment.augmentation import Augmentation, NoAugmentation
from gradcli.data.augment.augmented_batches import AugmentedBatches
from gradcli.data.augment.v2_transforms import CropFlip, V2Transforms

__all__ = ["Augmentation", "AugmentedBatches", "CropFlip", "NoAugmentation", "V2Transforms"]
