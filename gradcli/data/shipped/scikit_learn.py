"""Data sets that scikit-learn carries with it, and so take no download: `gradcli[sklearn]`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch

from gradcli.data.data_source import DataRequest, DataSource
from gradcli.data.dataset import Dataset, Split, split_dataset
from gradcli.data.examples import dataset_of, hold_out
from gradcli.data.sources import refuse_folder
from gradcli.extras.missing import not_installed
from gradcli.objectives import CROSS_ENTROPY


class _OfScikitLearn(DataSource):
    """A data set of `sklearn.datasets`, whose classes are in each part in proportion."""

    def load(self, request: DataRequest) -> Dataset:
        """Read it; a sixth is for the test, and then a sixth for validation."""
        refuse_folder(request)
        try:
            import sklearn.datasets
        except ImportError as error:
            raise not_installed("scikit-learn", "sklearn", error, what="This data set") from error
        train, test = hold_out(self._examples(sklearn.datasets), None, request.name)
        return self._divided(train, test, request)

    @abstractmethod
    def _examples(self, datasets: Any) -> Split:
        """Return all examples, given the module `sklearn.datasets`."""

    @abstractmethod
    def _divided(self, train: Split, test: Split, request: DataRequest) -> Dataset:
        """Return the data set of these examples."""


class Digits(_OfScikitLearn):
    """1,797 handwritten digits of 8 x 8 pixels (Alpaydin and Kaynak 1998)."""

    target_score = 0.95

    def _examples(self, datasets: Any) -> Split:
        found = datasets.load_digits()
        # Their 17 shades of grey, 0 to 16, are spread over a byte.
        pixels = np.round(found.images * (255 / 16)).astype(np.uint8)
        return Split(torch.from_numpy(pixels)[:, None], _labels(found.target))

    def _divided(self, train: Split, test: Split, request: DataRequest) -> Dataset:
        return split_dataset(
            train, test, name=request.name, val=request.val, target_score=self.target_score
        )


class BreastCancer(_OfScikitLearn):
    """569 tumours, malignant or benign, by 30 measurements (Wolberg, Street, Mangasarian 1995).

    The measurements have mean 0 and deviation 1 in the training examples.
    """

    target_score = 0.93

    def _examples(self, datasets: Any) -> Split:
        found = datasets.load_breast_cancer()
        return Split(torch.from_numpy(found.data), _labels(found.target))

    def _divided(self, train: Split, test: Split, request: DataRequest) -> Dataset:
        if request.val is None or request.val:
            train, val = hold_out(train, request.val, request.name)
        else:
            val = None
        mean, deviation = train.inputs.mean(0), train.inputs.std(0, correction=0)

        def standardized(split: Split) -> Split:
            return Split(((split.inputs - mean) / deviation).float(), split.targets)

        return dataset_of(
            standardized(train),
            None if val is None else standardized(val),
            standardized(test),
            name=request.name,
            objective=CROSS_ENTROPY,
            target_score=self.target_score,
            held_out=0,
        )


def _labels(target: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(target, dtype=np.int64))
