"""Optimizers that were published with equations: 20 steps in float64, and what they generalise.

Each reference is written from the equations of the paper that the option names. Gradients follow
from the weights and the step, so that an error in one step changes all that come after it.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gradcli.config import compose_train

SHAPES = ((6, 5), (4,))
LIBRARIES = {"adafactor": "torch", "schedule_free_sgd": "schedulefree"}
LIBRARIES["schedule_free_adamw"] = "schedulefree"


def shipped(name, **other):
    """The class of an option, and its keywords with others in their place."""
    pytest.importorskip(LIBRARIES.get(name, "pytorch_optimizer"))
    composed = compose_train([f"optimizer={name}"])
    return composed.classes["optimizer"], {**composed.config.optimizer.arguments, **other}


def beginning():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(one, generator=generator, dtype=torch.float64) for one in SHAPES]


def gradients(weights, step):
    generator = torch.Generator().manual_seed(step)
    noise = [torch.randn(one.shape, generator=generator, dtype=torch.float64) for one in weights]
    return [one.sin() + 0.5 * other for one, other in zip(weights, noise, strict=True)]


def trained(optimizer_class, keywords, steps=20, given=gradients):
    """Make steps with a class; return the weights to evaluate, which few have others of."""
    weights = [nn.Parameter(one) for one in beginning()]
    optimizer = optimizer_class(weights, **keywords)
    if hasattr(optimizer, "train"):
        optimizer.train()
    for step in range(steps):
        found = given([one.detach() for one in weights], step)
        for one, gradient in zip(weights, found, strict=True):
            one.grad = gradient
        optimizer.step()
    if hasattr(optimizer, "eval"):
        optimizer.eval()
    return [one.detach() for one in weights]


def assert_equal(found, expected, rtol=1e-9):
    """Compare how far weights have moved from the beginning."""
    for one, other, before in zip(found, expected, beginning(), strict=True):
        assert (other - before).abs().min() > 0
        assert (one - other).norm() <= rtol * (other - before).norm()


def path_of(update, steps=20):
    """Make steps by `update(weights, gradients, step)`, which returns new weights; steps from 1."""
    weights = beginning()
    for step in range(steps):
        weights = update(weights, gradients(weights, step), step + 1)
    return weights


def zeros():
    return [torch.zeros_like(one) for one in beginning()]


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_lion(decay):
    """Algorithm 2 of arXiv 2302.06675."""
    optimizer, keywords = shipped("lion", weight_decay=decay)
    lr, (beta1, beta2) = keywords["lr"], keywords["betas"]
    means = zeros()

    def update(weights, found, _):
        moved = []
        for place, (weight, gradient) in enumerate(zip(weights, found, strict=True)):
            mixed = beta1 * means[place] + (1 - beta1) * gradient
            moved.append(weight - lr * (mixed.sign() + decay * weight))
            means[place] = beta2 * means[place] + (1 - beta2) * gradient
        return moved

    assert_equal(trained(optimizer, keywords), path_of(update))


def test_lion_without_memory_is_sign_descent():
    """signSGD, Bernstein et al. 2018, arXiv 1802.04434."""
    optimizer, keywords = shipped("lion", betas=[0.0, 0.0])
    found = trained(optimizer, keywords)
    assert_equal(
        found,
        path_of(
            lambda weights, slopes, _: [
                weight - keywords["lr"] * slope.sign()
                for weight, slope in zip(weights, slopes, strict=True)
            ]
        ),
    )


@pytest.mark.parametrize(("lr", "d"), [(0.05, 1.0), (0.9, 2.0)])
def test_adafactor(lr, d):
    """Algorithms 4 and 5 of arXiv 1804.04235, with the relative steps of section 8."""
    optimizer, keywords = shipped("adafactor", lr=lr, d=d)
    rows, columns = torch.zeros(6, 1, dtype=torch.float64), torch.zeros(1, 5, dtype=torch.float64)
    whole = torch.zeros(4, dtype=torch.float64)

    def root_mean_square(values):
        return values.square().mean().sqrt()

    def update(weights, found, step):
        beta2 = 1 - step**-0.8
        squares = [one.square() + 1e-30 for one in found]
        rows.copy_(beta2 * rows + (1 - beta2) * squares[0].sum(1, keepdim=True))
        columns.copy_(beta2 * columns + (1 - beta2) * squares[0].sum(0, keepdim=True))
        whole.copy_(beta2 * whole + (1 - beta2) * squares[1])
        moved = []
        for weight, gradient, second in zip(
            weights, found, (rows @ columns / rows.sum(), whole), strict=True
        ):
            direction = gradient / second.sqrt()
            direction = direction / max(1.0, float(root_mean_square(direction)) / d)
            size = max(1e-3, float(root_mean_square(weight))) * min(lr, step**-0.5)
            moved.append(weight - size * direction)
        return moved

    assert_equal(trained(optimizer, keywords), path_of(update))


def test_adafactor_loses_nothing_if_squares_have_rank_one():
    """Then the factors are the whole second moment, which it keeps of vectors."""
    optimizer, keywords = shipped("adafactor")
    generator = torch.Generator().manual_seed(3)
    made = [
        torch.randn(6, 1, generator=generator, dtype=torch.float64)
        @ torch.randn(1, 5, generator=generator, dtype=torch.float64)
    ] * 20
    matrix, vector = nn.Parameter(beginning()[0]), nn.Parameter(beginning()[0].flatten())
    both = [(one, optimizer([one], **keywords)) for one in (matrix, vector)]
    for step, gradient in enumerate(made):
        for one, its in both:
            one.grad = (gradient * (-1) ** (step % 3)).view(one.shape).clone()
            its.step()
    torch.testing.assert_close(matrix.flatten(), vector, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rising", [None, 12])
def test_ademamix(rising):
    """Equation AdEMAMix of arXiv 2409.03137, and the schedulers of alpha and beta3 below it."""
    optimizer, keywords = shipped("ademamix", t_alpha_beta3=rising, weight_decay=0.1)
    lr, eps, alpha = keywords["lr"], keywords["eps"], keywords["alpha"]
    beta1, beta2, beta3 = keywords["betas"]
    fast, second, slow = zeros(), zeros(), zeros()

    def update(weights, found, step):
        share = 1.0 if rising is None else min(1.0, step / rising)
        # The half-lives of the slow mean rise linearly from that of beta1.
        inverse = (1 - share) / math.log(beta1) + share / math.log(beta3)
        beta = math.exp(1 / inverse)
        moved = []
        for place, (weight, gradient) in enumerate(zip(weights, found, strict=True)):
            fast[place] = beta1 * fast[place] + (1 - beta1) * gradient
            slow[place] = beta * slow[place] + (1 - beta) * gradient
            second[place] = beta2 * second[place] + (1 - beta2) * gradient**2
            first = fast[place] / (1 - beta1**step)
            root = (second[place] / (1 - beta2**step)).sqrt()
            direction = (first + share * alpha * slow[place]) / (root + eps)
            moved.append(weight - lr * (direction + 0.1 * weight))
        return moved

    assert_equal(trained(optimizer, keywords), path_of(update))


def test_ademamix_without_the_slow_mean_is_adamw():
    optimizer, keywords = shipped("ademamix", alpha=0.0, weight_decay=0.1)
    plain = {name: keywords[name] for name in ("lr", "eps", "weight_decay")}
    adamw = trained(torch.optim.AdamW, {**plain, "betas": keywords["betas"][:2]})
    assert_equal(trained(optimizer, keywords), adamw)


@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize("name", ["schedule_free_sgd", "schedule_free_adamw"])
def test_schedule_free(name, warmup):
    """Equations 1 to 3 and algorithm 1 of arXiv 2405.15682, with x, y and z apart.

    As in the authors' code, the mean's weights have the rate without Adam's correction of bias.
    """
    optimizer, keywords = shipped(name, warmup_steps=warmup, weight_decay=0.1)
    is_adam = "betas" in keywords
    beta, beta2 = keywords.get("betas", (keywords.get("momentum"), 0.0))
    x, z, second, total = beginning(), beginning(), zeros(), 0.0
    for step in range(1, 21):
        y = [(1 - beta) * one + beta * other for one, other in zip(z, x, strict=True)]
        rate = keywords["lr"] * (min(1.0, step / warmup) if warmup else 1.0)
        total += rate**2
        for place, gradient in enumerate(gradients(y, step - 1)):
            second[place] = beta2 * second[place] + (1 - beta2) * gradient**2
            root = (second[place] / (1 - beta2**step)).sqrt() + 1e-8 if is_adam else 1.0
            z[place] = z[place] - rate * (gradient / root + 0.1 * y[place])
            x[place] = (1 - rate**2 / total) * x[place] + rate**2 / total * z[place]
    assert_equal(trained(optimizer, keywords), x)


@pytest.mark.parametrize(
    ("name", "plain", "settings"),
    [
        ("schedule_free_sgd", torch.optim.SGD, {}),
        ("schedule_free_adamw", torch.optim.Adam, {"betas": (0.0, 0.999)}),
    ],
)
def test_schedule_free_without_interpolation_is_the_mean_of_the_iterates(name, plain, settings):
    """Polyak's averaging, whose gradients are those at the iterates themselves (section 2)."""
    little = 1e-5  # 0 is refused
    own = {"betas": [little, 0.999]} if settings else {"momentum": little}
    optimizer, keywords = shipped(name, lr=0.1, warmup_steps=0, **own)
    iterates = [trained(plain, {"lr": 0.1, **settings}, steps) for steps in range(1, 21)]
    means = [torch.stack(one).mean(0) for one in zip(*iterates, strict=True)]
    assert_equal(trained(optimizer, keywords), means, 1e-4)


def test_prodigy():
    """Algorithm 4 of arXiv 2306.06101: one estimate of the distance for all weights."""
    optimizer, keywords = shipped("prodigy", d0=1e-3)
    lr, d, (beta1, beta2) = keywords["lr"], 1e-3, keywords["betas"]
    start, root = beginning(), math.sqrt(beta2)
    first, second, sums, inner = zeros(), zeros(), zeros(), 0.0
    estimates = []

    def update(weights, found, _):
        nonlocal d, inner
        inner *= root
        for place, (weight, gradient) in enumerate(zip(weights, found, strict=True)):
            first[place] = beta1 * first[place] + (1 - beta1) * d * gradient
            second[place] = beta2 * second[place] + (1 - beta2) * d**2 * gradient**2
            inner += (1 - root) * lr * d**2 * float((gradient * (start[place] - weight)).sum())
            sums[place] = root * sums[place] + (1 - root) * lr * d**2 * gradient
        moved = [
            weight - lr * d * mean / (square.sqrt() + d * 1e-8)
            for weight, mean, square in zip(weights, first, second, strict=True)
        ]
        d = max(d, inner / float(sum(one.abs().sum() for one in sums)))
        estimates.append(d)
        return moved

    expected = path_of(update)
    assert estimates[-1] > 2 * estimates[0]  # otherwise the estimate would not be tested
    # The library sums the estimate's numerator in float32.
    assert_equal(trained(optimizer, keywords), expected, 1e-5)


def test_prodigy_with_a_fixed_distance_is_adamw():
    """Section 4: with d = 1 it is Adam. Here d0 is the learning rate and nothing is added to it."""
    optimizer, keywords = shipped("prodigy", d0=1e-3, d_coef=0.0, bias_correction=True, eps=1e-15)
    plain = {"lr": 1e-3, "betas": keywords["betas"], "eps": 1e-15, "weight_decay": 0.0}
    assert_equal(trained(optimizer, keywords), trained(torch.optim.AdamW, plain), 1e-8)


def test_soap():
    """Algorithm 3 of arXiv 2409.11321; its first gradient only begins the preconditioners."""
    optimizer, keywords = shipped("soap", precondition_frequency=3, weight_decay=0.5)
    lr, decay, eps = keywords["lr"], keywords["weight_decay"], keywords["eps"]
    beta1, beta2 = keywords["betas"]
    first, second = zeros(), zeros()
    sides, bases = [], []

    def turned(matrix, back=False):
        left, right = bases
        return left @ matrix @ right.T if back else left.T @ matrix @ right

    def refreshed(side, basis, axis):
        """A step of power iteration and QR, with columns by falling eigenvalue."""
        order = (basis.T @ side @ basis).diagonal().argsort(descending=True)
        second[0] = second[0].index_select(axis, order)
        return torch.linalg.qr(side @ basis[:, order])[0]

    def update(weights, found, step):
        gradient = found[0]
        outer = [gradient @ gradient.T, gradient.T @ gradient]
        if step == 1:
            sides[:] = [(1 - beta2) * one for one in outer]
            bases[:] = [torch.linalg.eigh(one)[1].flip(1) for one in sides]
            return weights
        count = step - 1
        moved = []
        for place, (weight, slope) in enumerate(zip(weights, found, strict=True)):
            is_matrix = weight.ndim == 2
            first[place] = beta1 * first[place] + (1 - beta1) * slope
            projected = turned(slope) if is_matrix else slope
            second[place] = beta2 * second[place] + (1 - beta2) * projected**2
            mean = turned(first[place]) if is_matrix else first[place]
            direction = mean / (second[place].sqrt() + eps)
            direction = turned(direction, back=True) if is_matrix else direction
            size = lr * math.sqrt(1 - beta2**count) / (1 - beta1**count)
            moved.append((weight - size * direction) * (1 - lr * decay))
        sides[:] = [beta2 * one + (1 - beta2) * new for one, new in zip(sides, outer, strict=True)]
        if count % 3 == 0:
            bases[:] = [refreshed(*one) for one in zip(sides, bases, (0, 1), strict=True)]
        return moved

    # The library decomposes in float32.
    assert_equal(trained(optimizer, keywords), path_of(update), 1e-4)


def test_soap_without_preconditioners_is_adam_one_step_later():
    optimizer, keywords = shipped("soap", max_precondition_dim=1, weight_decay=0.0, eps=1e-15)
    plain = {"lr": keywords["lr"], "betas": keywords["betas"], "eps": 1e-15}
    adam = trained(torch.optim.Adam, plain, 19, lambda w, step: gradients(w, step + 1))
    assert_equal(trained(optimizer, keywords), adam, 1e-8)
