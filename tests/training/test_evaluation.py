"""Scores by several metrics, from one pass over uneven batches."""

import pytest
import torch
from torch import nn

from gradcli.data import Batches
from gradcli.data.dataset import Split
from gradcli.objectives import chosen_objective
from gradcli.training.evaluation import evaluate


class Counting(nn.Linear):
    """A linear map that counts its calls."""

    calls = 0

    def forward(self, inputs):
        self.calls += 1
        return super().forward(inputs)


def largest_error(outputs, targets):
    """A score of the batch, not of examples."""
    return (outputs - targets).abs().max()


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(25, 3, generator=generator)
    targets = inputs.sum(1, keepdim=True) + torch.randn(25, 1, generator=generator)
    return Batches(Split(inputs, targets), 10, normalize=None)


def test_every_metric_is_that_of_the_split_after_one_pass(batches):
    objective = chosen_objective(
        "mse", "rmse", ["mae", "r2", ("largest error", largest_error, "minimize")]
    )
    model = Counting(3, 1)
    found = evaluate(model, objective, batches)
    assert model.calls == 3
    inputs, targets = (one.double() for one in (batches.all_inputs, batches.all_targets))
    with torch.no_grad():
        errors = (model.double()(inputs) - targets)[:, 0]
    assert found.loss == pytest.approx(float(errors.square().mean()), rel=1e-5)
    assert found.score == pytest.approx(float(errors.square().mean().sqrt()), rel=1e-5)
    assert found.example_scores is None  # the root of a mean is no mean of roots
    r2 = 1 - errors.square().sum() / (targets - targets.mean()).square().sum()
    by_batch = [float(errors[start : start + 10].abs().max()) for start in (0, 10, 20)]
    expected = {
        "mae": float(errors.abs().mean()),
        "r2": float(r2),
        "largest error": (10 * by_batch[0] + 10 * by_batch[1] + 5 * by_batch[2]) / 25,
    }
    assert list(found.further) == list(expected)
    assert dict(found.further) == pytest.approx(expected, rel=1e-5)


def test_further_metrics_change_no_other_number(batches):
    model = nn.Linear(3, 1)
    plain = evaluate(model, chosen_objective("mse", None), batches)
    more = evaluate(model, chosen_objective("mse", None, ["mae", "r2"]), batches)
    assert (plain.loss, plain.score, plain.further) == (more.loss, more.score, {})
    assert torch.equal(plain.example_scores, more.example_scores)


def test_an_example_without_a_score_is_left_out():
    """Masks (4, 4), of which every third example has no pixel that counts."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(25, 2, 4, 4, generator=generator)
    targets = (inputs[:, 0] > inputs[:, 1]).long()
    targets[::3] = -100
    targets[1, 0] = -100
    batches = Batches(Split(inputs, targets), 10, normalize=None)
    model = nn.Conv2d(2, 2, 1)
    found = evaluate(model, chosen_objective("cross_entropy", None), batches)
    with torch.no_grad():
        right = model(inputs).argmax(1) == targets
    counted = targets != -100
    shares = [
        right[number][counted[number]].double().mean().item() for number in range(25) if number % 3
    ]
    assert found.score == pytest.approx(sum(shares) / len(shares), rel=1e-6)
    assert found.example_scores is None  # a test over examples needs the score of each
    whole = nn.functional.cross_entropy(model(inputs), targets).item()
    assert found.loss == pytest.approx(whole, rel=1e-5)
