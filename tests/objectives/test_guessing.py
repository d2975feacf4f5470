"""What guessing costs, against the best constant as a search finds it."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.objectives import SHIPPED, loss_levels
from gradcli.objectives.guessing import (
    levels_of_function,
    of_classes,
    of_distances,
    of_squares,
    of_two_classes,
)
from gradcli.records import UNKNOWN_LEVELS

GENERATOR = torch.Generator().manual_seed(3)
NUMBERS = torch.randn(60, 2, 3, generator=GENERATOR) ** 3 + torch.arange(3.0)
RARE = (torch.rand(200, 4, generator=GENERATOR) < torch.tensor([0.03, 0.1, 0.5, 1.0])).float()
CLASSES = torch.randint(0, 5, (90,), generator=GENERATOR) ** 2
TOKENS = torch.randint(0, 7, (30, 6), generator=GENERATOR)
PROBABILITIES = torch.rand(50, 4, generator=GENERATOR).softmax(1)
NO_TARGETS = torch.zeros(0)


def fitted(loss, constant, targets, steps=2000):
    """Return the lowest loss of a constant output, as gradient descent in float64 finds it."""
    constant = constant.double().requires_grad_()
    optimizer = torch.optim.LBFGS([constant], max_iter=steps, tolerance_change=1e-14)

    def closure():
        optimizer.zero_grad()
        value = loss(constant.expand(len(targets), *constant.shape), targets)
        value.backward()
        return value

    optimizer.step(closure)
    return float(closure().detach())


def of(name, targets):
    return loss_levels(SHIPPED[name].levels, targets, targets)


@pytest.mark.parametrize(
    ("name", "constant", "targets"),
    [
        ("mse", torch.zeros(2, 3), NUMBERS.double()),
        ("bce_with_logits", torch.zeros(3), RARE[:, :3].double()),
        ("bce_with_logits", torch.zeros(4), torch.rand(50, 4, generator=GENERATOR).double()),
        ("cross_entropy", torch.zeros(17), CLASSES),
        ("cross_entropy", torch.zeros(4), PROBABILITIES.double()),
        ("next_token", torch.zeros(6, 7), torch.tensor([[1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 0]])),
    ],
)
def test_guessing_is_the_best_constant_output(name, constant, targets):
    found = of(name, targets)
    assert found.guessing == found.guessing_val
    best = fitted(SHIPPED[name].loss, constant, targets)
    if name == "next_token":  # a constant for each position would know more than the frequencies
        assert found.guessing > best
        return
    assert found.guessing == pytest.approx(best, rel=1e-4)


def test_guessing_a_distance_gives_the_median():
    """No constant among the targets themselves, and none between them, is better."""
    found, column = of("l1", NUMBERS), NUMBERS.double().reshape(60, -1).numpy()
    candidates = np.concatenate([column, column[:-1] + np.diff(np.sort(column, axis=0), axis=0)])
    losses = np.abs(column[None] - candidates[:, None]).mean(axis=1)
    assert found.guessing == pytest.approx(losses.min(axis=0).mean(), rel=1e-6)


def test_closed_forms():
    assert of("cross_entropy", torch.arange(10)).guessing == pytest.approx(math.log(10))
    share = 0.25
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert of("bce_with_logits", torch.tensor([1, 0, 0, 0])).guessing == pytest.approx(entropy)
    assert of("mse", torch.tensor([1000.0, 1002.0])).guessing == pytest.approx(1.0)
    assert of("l1", torch.tensor([1.0, 1.0, 7.0])).guessing == pytest.approx(2.0)
    counts = np.bincount(TOKENS.flatten().numpy()) / TOKENS.numel()
    assert of("next_token", TOKENS).guessing == pytest.approx(-(counts * np.log(counts)).sum())


def test_what_is_left_out_is_not_counted():
    padded = torch.cat((TOKENS, torch.full((30, 2), -100)), dim=1)
    assert of("next_token", padded) == of("next_token", TOKENS)


def test_large_means_do_not_cancel():
    far = NUMBERS.double() + 1e6
    assert of("mse", far).guessing == pytest.approx(of("mse", NUMBERS.double()).guessing, rel=1e-9)


def test_the_lowest_loss_is_that_of_the_targets_themselves():
    for name, targets in (("mse", NUMBERS), ("l1", NUMBERS), ("cross_entropy", CLASSES)):
        assert of(name, targets).lowest == 0
    perfect = F.cross_entropy(PROBABILITIES.double().log(), PROBABILITIES.double())
    assert of("cross_entropy", PROBABILITIES).lowest == pytest.approx(float(perfect))
    soft = PROBABILITIES.double()
    perfect = F.binary_cross_entropy(soft, soft)
    assert of("bce_with_logits", soft).lowest == pytest.approx(float(perfect))
    assert of("bce_with_logits", RARE).lowest == 0


@pytest.mark.parametrize("name", ["mse", "bce_with_logits"])
def test_chance_is_what_a_parameter_gains_from_noise(name):
    """Fitted to targets that have nothing to do with the input, over 2,000 draws."""
    generator = torch.Generator().manual_seed(0)
    count, draws = 200, 2000
    inputs = torch.randn(count, draws, generator=generator).double()
    if name == "mse":
        targets = torch.randn(count, draws, generator=generator).double()
        inputs, targets = inputs - inputs.mean(0), targets - targets.mean(0)
        slope = (inputs * targets).sum(0) / (inputs**2).sum(0)
        gains = (targets**2).mean(0) - ((targets - slope * inputs) ** 2).mean(0)
        chance = of("mse", targets[:, :1]).chance
    else:
        targets = (torch.rand(count, draws, generator=generator) < 0.3).double()
        parameters = torch.zeros(2, draws).double()
        for _ in range(8):  # Newton's method, all draws at once
            p = (parameters[0] + parameters[1] * inputs).sigmoid()
            error, weight = targets - p, p * (1 - p)
            sums = [(weight * inputs**k).sum(0) for k in range(3)]
            right = [error.sum(0), (error * inputs).sum(0)]
            det = sums[0] * sums[2] - sums[1] ** 2
            parameters += torch.stack(
                (
                    (sums[2] * right[0] - sums[1] * right[1]) / det,
                    (sums[0] * right[1] - sums[1] * right[0]) / det,
                )
            )
        logits = parameters[0] + parameters[1] * inputs
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(0)
        shares = targets.mean(0)
        entropies = F.binary_cross_entropy(shares, shares, reduction="none")
        gains, chance = entropies - losses, of("bce_with_logits", targets).chance
    # Chi-square with one degree of freedom has a standard deviation of the root of 2.
    assert float(gains.mean()) * count == pytest.approx(chance, rel=4 * math.sqrt(2 / draws))


def test_of_many_targets_a_part_is_enough():
    images = torch.randn(40_000, 300, generator=torch.Generator().manual_seed(0)) + 5
    assert of("mse", images).guessing == pytest.approx(1.0, abs=0.01)


def test_nothing_is_known_of_no_targets_and_of_other_losses():
    assert loss_levels(None, NUMBERS, NUMBERS) == UNKNOWN_LEVELS
    found = loss_levels(of_squares, NUMBERS, NO_TARGETS)
    assert math.isnan(found.guessing_val) and found.guessing > 0
    assert math.isnan(of_classes(torch.rand(5)).guessing)  # a column of numbers is no class
    assert of_classes(torch.full((4,), -100)).guessing != of_classes(CLASSES).guessing


class Counted(nn.MSELoss):
    pass


@pytest.mark.parametrize(
    ("loss", "levels"),
    [
        (F.mse_loss, of_squares),
        (nn.MSELoss(), of_squares),
        (nn.L1Loss(), of_distances),
        (F.cross_entropy, of_classes),
        (nn.CrossEntropyLoss(), of_classes),
        (nn.BCEWithLogitsLoss(), of_two_classes),
        (nn.BCELoss(), of_two_classes),
        (nn.MSELoss(reduction="sum"), None),
        (nn.CrossEntropyLoss(weight=torch.ones(4)), None),
        (nn.CrossEntropyLoss(label_smoothing=0.1), None),
        (nn.CrossEntropyLoss(ignore_index=0), None),
        (nn.BCEWithLogitsLoss(pos_weight=torch.ones(1)), None),
        (Counted(), None),
        (lambda outputs, targets: F.mse_loss(outputs, targets) + 100, None),
        (F.huber_loss, None),
    ],
)
def test_losses_of_pytorch_are_known(loss, levels):
    assert levels_of_function(loss) is levels


@pytest.mark.parametrize(("loss", "power"), [("mse", 2), ("l1", 1)])
def test_what_is_known_of_targets_that_are_numbers(loss, power):
    targets = torch.arange(200.0, dtype=torch.float64)[torch.randperm(200)][:, None]
    targets[targets == 199] = 10_000
    found = of(loss, targets)
    values = targets[:, 0].numpy()
    middle = values.mean() if power == 2 else sorted(values)[99]
    costs = abs(values - middle) ** power
    assert found.of_zero == pytest.approx((abs(values) ** power).mean())
    assert found.of_few == pytest.approx(sum(sorted(costs)[-2:]) / costs.sum())
    assert found.usual_targets == (10, 189)  # ten of 200 are below, and ten above
