"""The rebuilt test problems of DeepOBS against their published description.

Networks, initial weights and the use of the data, as Schneider, Balles and Hennig 2019 (arXiv
1903.05499) describe them and the sources of DeepOBS 1.1.2 have them, are written out here by
themselves: layers are plain products, and updates plain formulas.
"""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from gradcli.config import compose_train
from gradcli.data import idx
from gradcli.workflows.building import build_trainer, obtain_data, run_settings

TRAINING, TEST = 60_000, 10_000
IMAGES = 500
"""Different ones of each data set here: they repeat, with their labels."""
WIDTHS = (784, 1000, 500, 100, 10)
#: The shape of each weight, first layer to last.
SHAPES = {
    "logreg": [(10, 784)],
    "mlp": [(after, before) for before, after in pairwise(WIDTHS)],
    "2c2d": [(32, 1, 5, 5), (64, 32, 5, 5), (1024, 7 * 7 * 64), (10, 1024)],
}
#: Standard deviation before the cut at two of them, and the constant of all biases.
STARTS = {"logreg": (0.0, 0.0), "mlp": (0.03, 0.0), "2c2d": (0.05, 0.05)}
#: What all weights and biases are together.
SIZES = {"logreg": 7_850, "mlp": 1_336_610, "2c2d": 3_274_634}
PROBLEMS = ("mnist_logreg", "mnist_mlp", "mnist_2c2d", "fmnist_mlp", "fmnist_2c2d")


def network_of(problem):
    return problem.partition("_")[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Files of the size of MNIST and Fashion-MNIST, of random pixels, different in each."""
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("mnist", "fashion_mnist")):
        (folder / name).mkdir()
        random = np.random.default_rng(seed)
        few = random.integers(0, 256, (IMAGES, 28, 28), dtype=np.uint8)
        for file in idx.NAMES:
            count = TRAINING if file.startswith("train") else TEST
            values = np.resize(few, (count, 28, 28))
            if "labels" in file:
                values = (np.arange(count) % 10).astype(np.uint8)
            header = np.array([0x800 + values.ndim, *values.shape], dtype=">u4")
            (folder / name / file).write_bytes(header.tobytes() + values.tobytes())
    return folder


@pytest.fixture(scope="module")
def built(data_dir):
    """Build the trainer of a problem; those without further words are built once."""

    def build(problem, *words):
        composed = compose_train([f"experiment=deepobs/{problem}", "device=cpu", *words])
        dataset = obtain_data(composed.config.data, data_dir, lambda *_: None)
        with run_settings(composed):
            return build_trainer(composed, dataset)

    return cache(build)


# Plain formulas


def convolved(images, weight, bias):
    """Convolve images (b, c, h, w), two zeros around them, with kernels of 5 x 5."""
    count, _, height, width = images.shape
    patches = F.unfold(F.pad(images, (2, 2, 2, 2)), kernel_size=5)
    product = weight.flatten(1) @ patches + bias[:, None]
    return product.view(count, len(weight), height, width)


def pooled(images):
    """The largest of each 2 x 2 pixels that do not overlap."""
    count, channels, height, width = images.shape
    return images.view(count, channels, height // 2, 2, width // 2, 2).amax((3, 5))


def logits(problem, images, parameters):
    """The published network: each convolution, then ReLU, then pooling; the last layer bare."""
    *layers, (weight, bias) = zip(parameters[::2], parameters[1::2], strict=True)
    signal = images
    for inner_weight, inner_bias in layers:
        if inner_weight.ndim == 4:
            signal = pooled(convolved(signal, inner_weight, inner_bias).clamp_min(0))
        else:
            signal = (signal.flatten(1) @ inner_weight.T + inner_bias).clamp_min(0)
    return signal.flatten(1) @ weight.T + bias


def mean_cross_entropy(outputs, labels):
    of_right = outputs[torch.arange(len(labels)), labels]
    return (outputs.exp().sum(1).log() - of_right).mean()


def gradients(problem, batch, parameters):
    parameters = [one.clone().requires_grad_() for one in parameters]
    images, labels = batch
    mean_cross_entropy(logits(problem, images, parameters), labels).backward()
    return [one.grad for one in parameters]


def doubles(model):
    return [one.detach().double().clone() for one in model.parameters()]


# The network and its initial weights


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_network_is_the_published_one(built, problem):
    model, network = built(problem).model, network_of(problem)
    weights, biases = list(model.parameters())[::2], list(model.parameters())[1::2]
    assert [tuple(one.shape) for one in weights] == SHAPES[network]
    assert [tuple(one.shape) for one in biases] == [(shape[0],) for shape in SHAPES[network]]
    assert sum(one.numel() for one in model.parameters()) == SIZES[network]
    images = torch.rand(7, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    found = model(images)
    assert found.shape == (7, 10)
    expected = logits(problem, images.double(), doubles(model))
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-5)
    if network != "logreg":  # which says 0 to everything at first
        assert expected.std() > 0.01


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_initial_weights_have_the_published_distribution(built, problem):
    std, constant = STARTS[network_of(problem)]
    parameters = [one.detach() for one in built(problem).model.parameters()]
    assert all((bias == torch.tensor(constant)).all() for bias in parameters[1::2])
    for weight in parameters[::2]:
        if not std:
            assert not weight.any()
            continue
        values = weight.flatten().double().numpy()
        assert np.abs(values).max() <= 2 * std * (1 + 1e-6)
        expected = std * stats.truncnorm(-2, 2).std()
        assert expected == pytest.approx(0.8796 * std, rel=1e-4)
        error = expected / math.sqrt(2 * len(values))
        assert abs(values.std() - expected) < 4 * error
        assert stats.kstest(values / std, stats.truncnorm(-2, 2).cdf).pvalue > 1e-3


def test_another_distribution_would_be_noticed(built):
    weight = built("mnist_mlp", "init=normal", "init.std=0.03").model.hidden1.weight.detach()
    values = weight.flatten().double().numpy() / 0.03
    assert np.abs(values).max() > 2
    assert stats.kstest(values, stats.truncnorm(-2, 2).cdf).pvalue < 1e-9


def test_each_seed_draws_other_weights(built):
    first, second = (built("mnist_mlp", f"seed={seed}").model for seed in (0, 1))
    assert not torch.equal(first.hidden1.weight, second.hidden1.weight)


# The use of the data


@pytest.mark.parametrize("problem", PROBLEMS)
def test_an_epoch_has_468_batches_of_128_and_leaves_out_what_is_left(built, problem):
    trainer = built(problem)
    train = trainer.splits["train"]
    assert (train.size, train.steps_per_epoch) == (TRAINING, 468)
    assert trainer.total_steps == 468 * (50 if network_of(problem) == "logreg" else 100)
    assert trainer.splits["test"].size == TEST
    assert trainer.splits["val"].size == 0
    visited = [batch.examples.clone() for batch in train.epoch(seed=0, epoch=1)]
    assert [len(one) for one in visited] == [128] * 468
    assert len(torch.cat(visited).unique()) == 468 * 128 == TRAINING - 96


@pytest.mark.parametrize("problem", PROBLEMS)
def test_pixels_are_between_0_and_1_and_of_the_right_data(built, problem, data_dir):
    folder = "fashion_mnist" if problem.startswith("f") else "mnist"
    raw = np.fromfile(data_dir / folder / "train-images-idx3-ubyte", dtype=np.uint8)[16:]
    places = {image.tobytes(): place for place, image in enumerate(raw.reshape(-1, 784)[:IMAGES])}
    batch = next(built(problem).splits["train"].epoch(seed=0, epoch=1))
    assert (batch.inputs.min(), batch.inputs.max()) == (0, 1)
    pixels = 255 * batch.inputs.double()
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-4, rtol=0)
    images = pixels.round().byte().flatten(1).numpy()
    assert [places[image.tobytes()] % 10 for image in images] == batch.targets.tolist()


# The updates: of the mean cross-entropy alone, by a constant rate


def plain_sgd(rate, momentum):
    """Heavy ball, as TensorFlow's MomentumOptimizer has it: no Nesterov, no dampening."""

    def updates(history):
        velocity = 0.0
        for gradient in history:
            velocity = momentum * velocity + gradient
            yield -rate * velocity

    return updates


def plain_adam(rate):
    """Kingma and Ba 2014, algorithm 1, with its defaults."""

    def updates(history):
        first = second = 0.0
        for step, gradient in enumerate(history, start=1):
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            corrected = second / (1 - 0.999**step)
            yield -rate * first / (1 - 0.9**step) / (corrected.sqrt() + 1e-8)

    return updates


@pytest.mark.parametrize(
    ("optimizer", "updates"),
    [
        (("optimizer=sgd", "optimizer.lr=0.158489"), plain_sgd(0.158489, 0.0)),
        (
            ("optimizer=momentum", "optimizer.lr=0.00251189", "optimizer.momentum=0.99"),
            plain_sgd(0.00251189, 0.99),
        ),
        (("optimizer=adam", "optimizer.lr=0.000251189"), plain_adam(0.000251189)),
    ],
    ids=["sgd", "momentum", "adam"],
)
@pytest.mark.parametrize("problem", ["mnist_logreg", "fmnist_mlp", "fmnist_2c2d"])
def test_updates_are_those_of_the_plain_formula(built, problem, optimizer, updates):
    trainer = built(problem, *optimizer)
    assert trainer.step == 0
    parameters = doubles(trainer.model)
    batches = trainer.splits["train"].epoch(seed=0, epoch=1)
    history = [[] for _ in parameters]
    for _ in range(3):
        batch = next(batches)
        images, labels = batch.inputs.double().clone(), batch.targets.clone()
        found = gradients(problem, (images, labels), parameters)
        for past, gradient in zip(history, found, strict=True):
            past.append(gradient)
        steps = [list(updates(past))[-1] for past in history]
        parameters = [one + step for one, step in zip(parameters, steps, strict=True)]
    list(trainer.run(until=3))  # a part of the whole, without the evaluation at its end
    assert trainer.step == 3
    for found, expected, start in zip(
        trainer.model.parameters(), parameters, built(problem).model.parameters(), strict=True
    ):
        moved = (expected - start.detach().double()).norm()
        assert moved > 0
        # Adam's first steps are the signs of gradients, also of those that are all rounding.
        allowed = 2e-2 if any("adam" in word for word in optimizer) else 2e-3
        assert (found.detach().double() - expected).norm() < allowed * moved
