"""The gradients of single examples within a batch, against plain autograd in float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.objectives import SHIPPED
from gradcli.probes.measuring.batch_examples import BatchExamples

CROSS_ENTROPY = SHIPPED["cross_entropy"]
GENERATOR = torch.Generator().manual_seed(11)
INPUTS = torch.randn(9, 5, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])


def mlp(*middle):
    torch.manual_seed(4)
    return nn.Sequential(nn.Linear(5, 6), *middle, nn.Tanh(), nn.Linear(6, 3)).double()


def flat(loss, model):
    return torch.cat([one.flatten() for one in torch.autograd.grad(loss, list(model.parameters()))])


def of_batch(model, targets=LABELS, **settings):
    given = {"loss": CROSS_ENTROPY.loss, "terms": CROSS_ENTROPY.terms} | settings
    return BatchExamples(model, INPUTS, targets, **given)


def check(measures, each, losses, weights):
    """The measures are those of per-example gradients (n, D), losses and weights, (n,) each."""
    each, losses, weights = (
        torch.stack(each),
        torch.stack(losses),
        torch.tensor(weights, dtype=torch.float64),
    )
    mean = (weights[:, None] * each).sum(0)
    assert measures.losses == pytest.approx(losses.tolist(), rel=1e-12)
    assert measures.grad_norms == pytest.approx(each.norm(dim=1).tolist(), rel=1e-12)
    assert measures.grad_norm == pytest.approx(float(mean.norm()), rel=1e-12)
    shares = weights * (each @ mean) / mean.square().sum()
    assert measures.shares == pytest.approx(shares.tolist(), rel=1e-9)
    assert measures.shares.sum() == pytest.approx(1, rel=1e-12)
    assert measures.loss == pytest.approx(measures.mean_of_losses, rel=1e-12)


@pytest.mark.parametrize("micro_batch_size", [None, 4, 1])
def test_numbers_are_those_of_one_pass_per_example(micro_batch_size):
    model = mlp()
    losses = [F.cross_entropy(model(x[None]), y[None]) for x, y in zip(INPUTS, LABELS, strict=True)]
    each = [flat(loss, model) for loss in losses]
    found = of_batch(model, micro_batch_size=micro_batch_size)
    check(found.measure(), each, [one.detach() for one in losses], [1 / 9] * 9)
    assert found.measure().outputs == pytest.approx(model(INPUTS).detach())


def test_the_norm_without_some_is_that_of_the_mean_over_the_others():
    model = mlp()
    kept = [0, 2, 3, 5, 6, 7, 8]
    expected = flat(F.cross_entropy(model(INPUTS[kept]), LABELS[kept]), model).norm()
    assert of_batch(model).norm_without([1, 4]) == pytest.approx(float(expected), rel=1e-12)
    assert math.isnan(of_batch(model).norm_without(range(9)))


def test_dropout_has_the_masks_of_the_step():
    """One mask for the batch, the one that a step with this random state draws."""
    model = mlp(nn.Dropout(0.5))
    torch.manual_seed(7)
    outputs = model(INPUTS)
    losses = F.cross_entropy(outputs, LABELS, reduction="none")
    each = [torch.autograd.grad(one, list(model.parameters()), retain_graph=True) for one in losses]
    each = [torch.cat([part.flatten() for part in one]) for one in each]
    torch.manual_seed(7)
    found = of_batch(model)
    check(found.measure(), each, list(losses.detach()), [1 / 9] * 9)
    torch.manual_seed(7)
    assert of_batch(model).measure().grad_norms == pytest.approx(found.measure().grad_norms)


def test_with_batch_norm_each_loss_has_the_statistics_of_the_batch():
    """The losses are written out: the batch's mean and variance depend on the weights."""
    model = mlp(nn.BatchNorm1d(6, affine=False))
    first, last = model[0], model[3]

    def losses():
        hidden = first(INPUTS)
        mean, variance = hidden.mean(0), hidden.var(0, correction=0)
        outputs = last(torch.tanh((hidden - mean) / (variance + 1e-5).sqrt()))
        return F.cross_entropy(outputs, LABELS, reduction="none")

    each = [flat(losses()[place], model) for place in range(9)]
    running = model[1].running_mean.clone()
    check(of_batch(model).measure(), each, list(losses().detach()), [1 / 9] * 9)
    assert torch.equal(model[1].running_mean, running)


@pytest.mark.parametrize("micro_batch_size", [None, 4])
def test_an_example_counts_by_its_terms(micro_batch_size):
    """Of an example without a target that counts, nothing counts."""
    torch.manual_seed(4)
    model = nn.Linear(5, 3).double()
    inputs = torch.randn(4, 2, 5, generator=GENERATOR, dtype=torch.float64)
    targets = torch.tensor([[0, 1], [2, -100], [-100, -100], [1, 1]])
    objective = SHIPPED["next_token"]
    found = BatchExamples(
        model,
        inputs,
        targets,
        loss=objective.loss,
        terms=objective.terms,
        micro_batch_size=micro_batch_size,
    ).measure()
    each, losses = [], []
    for x, y in zip(inputs, targets, strict=True):
        rows = y != -100
        loss = F.cross_entropy(model(x[rows]), y[rows]) if rows.any() else 0 * model(x).sum()
        each.append(flat(loss, model))
        losses.append(loss.detach())
    check(found, each, losses, [2 / 5, 1 / 5, 0, 2 / 5])


def test_a_loss_that_is_no_mean_over_examples_is_noticed():
    found = of_batch(mlp(), loss=lambda outputs, targets: outputs.std() + outputs.mean())
    measures = found.measure()
    assert not math.isclose(measures.loss, measures.mean_of_losses, rel_tol=1e-2)


def test_an_example_that_is_not_finite_is_the_only_one():
    model = mlp()
    inputs = INPUTS.clone()
    inputs[3, 0] = math.nan
    found = BatchExamples(model, inputs, LABELS, loss=CROSS_ENTROPY.loss).measure()
    finite = [math.isfinite(one) for one in found.grad_norms]
    assert finite == [place != 3 for place in range(9)]
    assert math.isnan(found.grad_norm)
    others = [0, 1, 2, 4, 5, 6, 7, 8]
    expected = flat(F.cross_entropy(model(INPUTS[others]), LABELS[others]), model).norm()
    assert found.norm_of_finite == pytest.approx(float(expected), rel=1e-12)


def test_model_and_random_state_are_left_as_they_were():
    model = mlp(nn.Dropout(0.5), nn.BatchNorm1d(6))
    before = {name: one.clone() for name, one in model.state_dict().items()}
    random = torch.get_rng_state()
    of_batch(model).measure()
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())
