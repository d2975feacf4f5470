"""What per-example gradients say of noise: definitions, and many draws from a known noise."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradcli.errors import UserError
from gradcli.probes.measuring.gradient_noise import (
    GradientNoise,
    Interval,
    gradient_noise,
    noise_scale,
)
from gradcli.probes.noise import NOISE


def matrix_of_gradients(model, images, labels):
    rows = []
    for image, label in zip(images, labels, strict=True):
        loss = F.cross_entropy(model(image[None]), label[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, model.parameters())]))
    return torch.stack(rows).double().numpy()


def scale_of(gradients):
    """The noise scale of a matrix of gradients, (B, D)."""
    return noise_scale(np.square(gradients).sum(axis=1), gradients @ gradients.mean(axis=0))


def test_every_number_follows_its_definition(make, batch):
    model, (images, labels) = make("mlp", hidden=[8]), batch(30)
    gradients = matrix_of_gradients(model, images, labels)
    count, mean = len(gradients), gradients.mean(axis=0)
    variance = gradients.var(axis=0, ddof=1)
    found = gradient_noise(model, images, labels, memory_bytes=20_000)
    assert found.examples == count
    assert found.grad_norm == pytest.approx(np.linalg.norm(mean), rel=1e-5)
    assert found.norm_test == pytest.approx(variance.sum() / (count * mean @ mean), rel=1e-5)
    products = gradients @ mean
    assert found.inner_product_test == pytest.approx(
        products.var(ddof=1) / (count * (mean @ mean) ** 2), rel=1e-5
    )
    gsnr = mean**2 / variance
    assert found.gsnr_excess == pytest.approx(np.mean(gsnr) - 1 / count, rel=1e-4)
    # McCandlish's equations with batches of 1 and of B.
    small, big = np.square(gradients).sum(axis=1).mean(), mean @ mean
    signal = (count * big - 1 * small) / (count - 1)
    noise = (small - big) / (1 / 1 - 1 / count)
    assert noise == pytest.approx(variance.sum())
    assert found.noise_scale.estimate == pytest.approx(noise / signal, rel=1e-5)
    assert found.noise_scale.low < found.noise_scale.estimate < found.noise_scale.high


def test_layers_are_measured_by_themselves(make, batch):
    model, (images, labels) = make("mlp", hidden=[8]), batch(30)
    gradients = matrix_of_gradients(model, images, labels)
    found = gradient_noise(model, images, labels)
    assert [layer.layer for layer in found.layers] == ["hidden1", "output"]
    of_output = gradients[:, -45:]  # 8 x 5 weights and 5 biases
    expected = scale_of(of_output)
    assert found.layers[1].noise_scale.estimate == pytest.approx(expected.estimate, rel=1e-4)
    gsnr = of_output.mean(axis=0) ** 2 / of_output.var(axis=0, ddof=1) - 1 / 30
    assert found.layers[1].gsnr_excess == pytest.approx(gsnr.mean(), rel=1e-4)


def test_the_jackknife_leaves_out_one_example_at_a_time():
    gradients = np.random.default_rng(0).normal(0.4, 1.0, size=(12, 6))

    def signal_to_noise(rows):
        trace = rows.var(axis=0, ddof=1).sum()
        return (np.square(rows.mean(axis=0)).sum() - trace / len(rows)) / trace

    without = [signal_to_noise(np.delete(gradients, i, axis=0)) for i in range(12)]
    deviation = math.sqrt(11 / 12 * np.square(without - np.mean(without)).sum())
    found, signal = scale_of(gradients), signal_to_noise(gradients)
    assert 1 / found.estimate == pytest.approx(signal)
    assert 1 / found.low == pytest.approx(signal + 1.959964 * deviation)


def test_over_many_draws_it_finds_the_true_scale_and_the_interval_covers_it():
    random = np.random.default_rng(1)
    dimensions, count, true_scale = 200, 64, 300.0
    std = random.uniform(0.5, 1.5, size=dimensions)
    direction = random.normal(size=dimensions)
    signal = direction / np.linalg.norm(direction) * math.sqrt(np.square(std).sum() / true_scale)
    found = []
    naive = []
    for _ in range(400):
        gradients = signal + std * random.normal(size=(count, dimensions))
        found.append(scale_of(gradients))
        mean = gradients.mean(axis=0)
        naive.append(gradients.var(axis=0, ddof=1).sum() / (mean @ mean))
    covered = np.mean([interval.low <= true_scale <= interval.high for interval in found])
    assert 0.92 < covered <= 1.0
    # The reciprocal is what is unbiased.
    assert np.mean([1 / interval.estimate for interval in found]) == pytest.approx(
        1 / true_scale, rel=0.2
    )
    assert np.mean(naive) < 70  # of 300: the naive ratio cannot exceed the batch by much


def test_pure_noise_has_no_signal_and_no_upper_end():
    gradients = np.random.default_rng(2).normal(size=(50, 400))
    gradients -= gradients.mean(axis=0) * 0.5
    found = scale_of(gradients)
    assert found.estimate == found.high == math.inf
    assert found.low > 50


def test_equal_gradients_have_no_noise():
    assert scale_of(np.ones((5, 3))).high == 0.0


def test_zero_gradients_and_broken_ones_have_no_scale(make, batch):
    assert math.isnan(scale_of(np.zeros((5, 3))).estimate)
    model = make("mlp", hidden=[4])
    with torch.no_grad():
        model.output.bias[0] = math.nan
    found = gradient_noise(model, *batch(5))
    assert math.isnan(found.noise_scale.estimate)
    assert math.isnan(found.grad_norm)
    with torch.no_grad():
        model.output.bias[0] = math.inf
    assert math.isnan(gradient_noise(model, *batch(5)).noise_scale.estimate)


def test_dropout_draws_the_same_masks_in_both_sweeps(make, batch):
    model = make("mlp", hidden=[20], dropout=0.5)
    found = gradient_noise(model, *batch(20))
    # The mean of g_i . g is ||g||^2 only if both sweeps saw the same gradients.
    trace = found.norm_test * 20 * found.grad_norm**2
    signal = found.grad_norm**2 - trace / 20
    if signal > 0:
        assert found.noise_scale.estimate == pytest.approx(trace / signal, rel=1e-6)
    else:
        assert found.noise_scale.estimate == math.inf


def test_two_examples_are_too_few(make, batch):
    with pytest.raises(UserError, match="3 examples"):
        gradient_noise(make("mlp", hidden=[4]), *batch(2))


# As sentences --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "meaning"),
    [
        ((200.0, 900.0), "a batch of 128 is mostly noise"),
        ((10.0, 90.0), "a batch of 128 is mostly signal"),
        ((50.0, math.inf), "a batch of 128 may be mostly noise or mostly signal"),
    ],
)
def test_noise_is_compared_with_the_batch(ends, meaning):
    noise = GradientNoise(512, 1.0, Interval(420.4, *ends), 0.0123, 0.5, 0.25, ())
    text = "\n".join(NOISE.sentences(noise, 128))
    assert meaning in text
    assert "noise scale 420 (95%: " in text
    assert "for a batch of 512: norm test " in text
    assert "GSNR excess 0.250" in text or "GSNR excess 0.0123" in text
