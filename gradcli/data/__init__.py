"""Data sets as tensors in memory: where they come from, how they are split and batched.

It knows files, mirrors and caches, but no configs, models or screens. torchvision is imported
only to download, and to change training images at random.
"""

from gradcli.data.augment import (
    Augmentation,
    AugmentedBatches,
    CropFlip,
    NoAugmentation,
    V2Transforms,
)
from gradcli.data.batch_source import Batch, BatchSource
from gradcli.data.batches import Batches, Normalize, epoch_order, steps_per_epoch
from gradcli.data.data_source import DataRequest, DataSource
from gradcli.data.dataset import Dataset, Split, split_dataset
from gradcli.data.downloads.download import DownloadProgress
from gradcli.data.load import load_dataset

__all__ = [
    "Augmentation",
    "AugmentedBatches",
    "Batch",
    "BatchSource",
    "Batches",
    "CropFlip",
    "DataRequest",
    "DataSource",
    "Dataset",
    "DownloadProgress",
    "NoAugmentation",
    "Normalize",
    "Split",
    "V2Transforms",
    "epoch_order",
    "load_dataset",
    "split_dataset",
    "steps_per_epoch",
]
