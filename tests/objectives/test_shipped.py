"""Every loss that can be named, against sums written out in NumPy and float64."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from gradcli.errors import UserError
from gradcli.objectives import SHIPPED, objective_named, score_of
from gradcli.objectives.shipped import correct


def drawn(name, dtype=torch.float64, count=13):
    """Outputs and targets of an objective."""
    generator = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(count, 4, generator=generator, dtype=torch.float64)
    classes = torch.randint(0, 4, (count,), generator=generator)
    numbers = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    sequences = torch.randn(count, 5, 4, generator=generator, dtype=torch.float64)
    tokens = torch.randint(0, 4, (count, 5), generator=generator)
    outputs, targets = {
        "cross_entropy": (logits, classes),
        "nll": (log_softmax(logits, 1), classes),
        "bce_with_logits": (logits, (numbers > 0).double()),
        "mse": (logits, numbers),
        "l1": (logits, numbers),
        "next_token": (sequences, tokens),
    }[name]
    return outputs.to(dtype), targets


def log_likelihoods(logits, classes):
    """The logarithm of the probability of each class, summed in NumPy."""
    logits, classes = logits.numpy(), classes.numpy()
    total = np.log(np.exp(logits).sum(-1))
    return np.take_along_axis(logits, classes[..., None], -1)[..., 0] - total


def expected(name, outputs, targets):
    """The loss and the score of each example."""
    x, y = outputs.numpy(), targets.numpy()
    match name:
        case "cross_entropy" | "nll":
            return -log_likelihoods(outputs, targets), x.argmax(1) == y
        case "bce_with_logits":
            losses = np.log1p(np.exp(-np.where(y == 1, x, -x)))
            return losses.mean(1), ((x > 0) == (y == 1)).mean(1)
        case "mse":
            return ((x - y) ** 2).mean(1), ((x - y) ** 2).mean(1)
        case "l1":
            return abs(x - y).mean(1), abs(x - y).mean(1)
        case "next_token":
            losses = -log_likelihoods(outputs, targets).mean(1)
            return losses, losses


@pytest.mark.parametrize("name", SHIPPED)
def test_the_loss_and_the_score_are_those_of_the_definition(name):
    objective, (outputs, targets) = SHIPPED[name], drawn(name)
    losses, scores = expected(name, outputs, targets)
    assert float(objective.loss(outputs, targets)) == pytest.approx(losses.mean(), rel=1e-12)
    found = objective.score(outputs, targets).double().numpy()
    np.testing.assert_allclose(found, scores.astype(float), rtol=1e-6)


@pytest.mark.parametrize("name", SHIPPED)
def test_batches_of_several_sizes_add_up_to_the_whole(name):
    objective, (outputs, targets) = SHIPPED[name], drawn(name)
    parts = [(outputs[:9], targets[:9]), (outputs[9:], targets[9:])]
    terms = [objective.terms(part[1]) for part in parts]
    total = sum(
        float(objective.loss(*one)) * count for one, count in zip(parts, terms, strict=True)
    )
    assert total / sum(terms) == pytest.approx(float(objective.loss(outputs, targets)), rel=1e-12)


@pytest.mark.parametrize("name", SHIPPED)
def test_outputs_in_half_precision_lose_nothing_more(name):
    outputs, targets = drawn(name, torch.bfloat16)
    loss = SHIPPED[name].loss(outputs, targets)
    assert loss.dtype == torch.float32
    exact = SHIPPED[name].loss(outputs.double(), targets)
    assert float(loss) == pytest.approx(float(exact), rel=1e-5)


def test_a_column_of_outputs_is_not_compared_with_every_target():
    outputs, targets = torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0])
    assert float(SHIPPED["mse"].loss(outputs, targets)) == 2.0
    assert SHIPPED["mse"].score(outputs, targets).tolist() == [0.0, 4.0]


@pytest.mark.parametrize("name", ["mse", "l1", "bce_with_logits"])
def test_outputs_without_a_target_each_are_refused(name):
    with pytest.raises(UserError, match=r"\(2, 3\) and the targets \(2,\)"):
        SHIPPED[name].loss(torch.zeros(2, 3), torch.zeros(2))


def test_an_output_that_is_not_a_number_is_no_answer():
    outputs = torch.tensor([[0.0, math.nan], [0.0, 1.0]])
    assert correct(outputs, torch.tensor([1, 1])).tolist() == [False, True]


def test_padding_counts_neither_in_the_loss_nor_in_the_score():
    outputs, targets = drawn("next_token")
    targets[0, 2:] = -100
    objective = SHIPPED["next_token"]
    kept = -log_likelihoods(outputs, targets.clamp(min=0))[(targets != -100).numpy()]
    assert objective.terms(targets) == len(kept) == targets.numel() - 3
    assert float(objective.loss(outputs, targets)) == pytest.approx(kept.mean(), rel=1e-12)
    assert float(objective.score(outputs, targets)[0]) == pytest.approx(kept[:2].mean(), rel=1e-12)


def test_of_a_picture_of_classes_the_share_of_pixels_is_scored():
    outputs = torch.zeros(1, 2, 2, 2)
    outputs[0, 1, 0] = 1.0
    targets = torch.tensor([[[1, 0], [1, -100]]])
    assert correct(outputs, targets).tolist() == pytest.approx([1 / 3])


def test_a_misspelt_loss_names_the_nearest():
    with pytest.raises(UserError) as caught:
        objective_named("cross_entrophy")
    assert caught.value.choices[0] == "cross_entropy"


@pytest.mark.parametrize("score", [0.5, np.float64(0.5), torch.tensor(0.5)])
def test_a_metric_may_give_a_plain_number(score):
    found = score_of(lambda outputs, targets: score, torch.zeros(3), torch.zeros(3))
    assert (found.shape, float(found)) == ((), 0.5)


@pytest.mark.parametrize("shape", [(2,), (3, 1), (1,)])
def test_a_metric_of_another_length_is_refused(shape):
    with pytest.raises(UserError, match=r"\(3,\) for a batch of 3"):
        score_of(lambda outputs, targets: torch.zeros(shape), torch.zeros(3), torch.zeros(3))
