"""Log-binned histograms: counts against NumPy, edges, and what is not a number."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.probes.histograms import (
    HISTOGRAMS,
    LayerHistogram,
    LogHistogram,
    gradient_histograms,
    log_histogram,
)
from gradcli.records import DECADES


def decade(k):
    return DECADES.index(k)


def test_counts_agree_with_numpy():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(5000, generator=generator) * 10 ** (
        6 * torch.rand(5000, generator=generator) - 8
    )
    found = log_histogram([values[:123], values[123:].view(-1, 1).T])
    edges = [10.0**k for k in (*DECADES, DECADES.stop)]
    array = values.double().numpy()
    assert np.array_equal(found.positive, np.histogram(array[array > 0], edges)[0])
    assert np.array_equal(found.negative, np.histogram(-array[array < 0], edges)[0])


def test_powers_of_ten_open_their_decade():
    found = log_histogram([torch.tensor([1.0, -10.0, 0.5, 100.0], dtype=torch.float64)])
    assert found.positive[decade(0)] == found.positive[decade(2)] == 1
    assert found.negative[decade(1)] == found.positive[decade(-1)] == 1


def test_zeros_nan_and_extremes_are_counted_and_nothing_is_lost():
    values = torch.tensor([0.0, -0.0, math.nan, math.inf, -math.inf, 1e-40, -1e-30, 1e30, -1.0])
    found = log_histogram([values])
    assert (found.zeros, found.non_finite) == (2, 3)
    assert found.positive[0] == 1  # too small for its own bin
    assert found.negative[0] == 1
    assert found.positive[-1] == 1  # too large
    assert found.size == len(values)
    assert len(found.positive) == len(found.negative) == len(DECADES)


def test_each_layer_has_its_own(make, batch):
    model = make("mlp", activation=nn.ReLU, hidden=[7])
    model.output.bias.requires_grad_(False)
    images, labels = batch(9)
    gradient = torch.autograd.grad(F.cross_entropy(model(images), labels), model.output.weight)[0]
    first, last = gradient_histograms(model, images, labels)
    assert (first.layer, last.layer) == ("hidden1", "output")
    assert first.histogram.size == 64 * 7 + 7
    assert last.histogram.size == 5 * 7  # the bias is frozen
    assert last.histogram.positive.sum() == int((gradient > 0).sum())


def test_nothing_at_all_gives_empty_bins():
    assert log_histogram([]).size == 0
    assert log_histogram([torch.zeros(3)]).zeros == pytest.approx(3)


# As sentences --------------------------------------------------------------------------


def layer(name, values, zeros, non_finite=0):
    counts = np.zeros(len(DECADES), dtype=np.int64)
    counts[20] = values
    return LayerHistogram(name, LogHistogram(counts, 0 * counts, zeros, non_finite))


def test_histograms_name_the_layer_with_most_zeros():
    half_off = (layer("hidden1", 90, 10), layer("output", 50, 50))
    assert HISTOGRAMS.sentences(half_off, 128) == [
        "30% of all elements are exactly zero, most in output (50%)"
    ]
    assert HISTOGRAMS.sentences((layer("a", 10, 0, 3),), 128) == [
        "0% of all elements are exactly zero; 3 are not finite"
    ]
