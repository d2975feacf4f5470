"""Muon: the equations of its authors, kernels as they have them, and an older PyTorch."""

import copy
import math

import pytest
import torch
from torch import nn

from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.errors import UserError
from gradcli.optim import build_optimizer, muon
from gradcli.workflows.building import build_trainer

CPU = torch.device("cpu")
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch 2.9 has it")


def tensors(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def give_gradients(parameters, step):
    """Gradients that follow from the weights and the step."""
    generator = torch.Generator().manual_seed(step)
    for one in parameters:
        one.grad = one.detach().sin() + torch.randn(one.shape, generator=generator)


def build(model, **kwargs):
    return build_optimizer(muon.Muon, kwargs, model, device=CPU, decay_biases_and_norms=True)


def make_steps(optimizer, parameters, steps=20):
    for step in range(steps):
        give_gradients(parameters, step)
        optimizer.step()
    return [one.detach().clone() for one in parameters]


def orthogonal(matrix, steps=5):
    """The quintic Newton-Schulz iteration, in float64."""
    x = matrix / matrix.norm()
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(steps):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide if x.shape[0] <= x.shape[1] else wide.T


def by_the_equations(parameter, gradients, lr=0.02, momentum=0.95, decay=0.1):
    """Muon of Jordan et al. 2024 in float64, with kernels flattened to (out, in·height·width)."""
    weight = parameter.detach().double().flatten(1)
    mean = torch.zeros_like(weight)
    for gradient in gradients:
        gradient = gradient.double().flatten(1)
        mean = momentum * mean + (1 - momentum) * gradient
        ahead = momentum * mean + (1 - momentum) * gradient
        rows, columns = weight.shape
        step = lr * math.sqrt(max(1, rows / columns)) * orthogonal(ahead)
        weight = weight * (1 - lr * decay) - step
    return weight.view(parameter.shape)


@needs_muon
@pytest.mark.parametrize("shape", [(12, 7), (5, 9), (6, 3, 2, 2), (30, 2, 3)])
def test_twenty_steps_are_those_of_the_equations(shape):
    generator = torch.Generator().manual_seed(1)
    (weight,) = tensors(shape)
    before = weight.detach().double().clone()
    gradients = [torch.randn(shape, generator=generator) for _ in range(20)]
    expected = by_the_equations(weight, gradients)
    optimizer = muon.Muon([weight], weight_decay=0.1)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    # torch iterates in bfloat16, of 8 bits.
    assert (weight - expected).norm() < 0.02 * (expected - before).norm()


@needs_muon
def test_a_kernel_moves_as_its_matrix_does_to_the_bit():
    kernel, matrix = tensors((6, 3, 2, 2)), tensors((6, 12))
    matrix[0].data.copy_(kernel[0].detach().view(6, 12))
    generator = torch.Generator().manual_seed(2)
    ours, theirs = muon.Muon(kernel, lr=0.1), torch.optim.Muon(matrix, lr=0.1, weight_decay=0.0)
    for _ in range(20):
        gradient = torch.randn(6, 12, generator=generator)
        kernel[0].grad, matrix[0].grad = gradient.view(6, 3, 2, 2).clone(), gradient
        ours.step()
        theirs.step()
    assert torch.equal(kernel[0].view(6, 12), matrix[0])
    assert ours.state[kernel[0]]["momentum_buffer"].shape == kernel[0].shape


@needs_muon
def test_without_momentum_an_update_is_nearly_the_orthogonal_factor_of_the_gradient():
    (weight,) = tensors((8, 20))
    before = weight.detach().clone()
    give_gradients([weight], 0)
    u, _, v = torch.linalg.svd(weight.grad.double(), full_matrices=False)
    muon.Muon([weight], lr=1.0, momentum=0.0).step()
    moved = (before - weight).detach().double()
    values = torch.linalg.svdvals(moved)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert ((moved * (u @ v)).sum() / (moved.norm() * (u @ v).norm())) > 0.97


@needs_muon
def test_it_resumes_to_the_bit():
    shapes = ((6, 3, 2, 2), (5, 9))
    weights = tensors(*shapes)
    optimizer = muon.Muon(weights)
    make_steps(optimizer, weights)
    again = copy.deepcopy(weights)
    resumed = muon.Muon(again)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one, other in zip(make_steps(optimizer, weights), make_steps(resumed, again), strict=True):
        assert torch.equal(one, other)


@needs_muon
@pytest.mark.parametrize(
    ("model", "hidden"), [("mlp", {"hidden2.weight"}), ("cnn", {"conv2.weight", "hidden.weight"})]
)
def test_the_option_gives_it_the_hidden_matrices_and_kernels(model, hidden):
    composed = compose_train([f"model={model}", "data=mnist5k", "optimizer=muon"])
    trainer = build_trainer(composed, load_dataset("mnist5k"))
    by_muon, by_adamw = trainer.optimizer.members
    assert (type(by_muon), type(by_adamw)) == (muon.Muon, torch.optim.AdamW)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    taken = {names[id(p)] for group in by_muon.param_groups for p in group["params"]}
    assert taken == hidden
    assert len(by_adamw.param_groups[0]["params"]) == len(names) - len(hidden)


@needs_muon
def test_a_model_without_hidden_layers_is_refused_in_words():
    composed = compose_train(["model=logreg", "data=mnist5k", "optimizer=muon"])
    with pytest.raises(UserError, match="this model has no hidden weights to train") as caught:
        build_trainer(composed, load_dataset("mnist5k"))
    assert caught.value.where == "optimizer.groups.hidden.where"


@needs_muon
def test_what_torch_refuses_is_still_refused():
    model = nn.Linear(3, 3, bias=False)
    with pytest.raises(UserError, match=r"Muon refuses its settings: Adjust learning rate"):
        build(model, adjust_lr_fn="some")


def test_an_older_torch_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(muon, "_OF_TORCH", None)
    with pytest.raises(UserError, match=r"Muon needs PyTorch 2\.9 or newer; this is") as caught:
        build(nn.Linear(3, 3, bias=False))
    assert caught.value.hint == "pip install 'torch>=2.9'"
