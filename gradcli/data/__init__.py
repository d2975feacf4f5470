"""Data sets as tensors in memory: where they come from, how they are split and batched.

It knows files, mirrors and caches, but neither configs nor models nor screens. torchvision is
imported only to download.
"""

from gradcli.data.batches import Batches, Normalize, epoch_order
from gradcli.data.dataset import Dataset, Split
from gradcli.data.download import DownloadProgress
from gradcli.data.load import NAMES, load_dataset

__all__ = [
    "NAMES",
    "Batches",
    "Dataset",
    "DownloadProgress",
    "Normalize",
    "Split",
    "epoch_order",
    "load_dataset",
]
