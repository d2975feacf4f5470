"""Eigenvalues against the full Hessian, and thresholds against the optimizers themselves."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from gradcli.probes.measuring.hessian import Sharpness, sharpness
from gradcli.probes.measuring.stability import stability_threshold
from gradcli.probes.sharpness import SHARPNESS


def full_hessian(model, images, labels):
    """All second derivatives, (D, D), in the order of the parameters."""
    named = dict(model.named_parameters())
    sizes = [p.numel() for p in named.values()]

    def loss(flat):
        parts = zip(named.items(), flat.split(sizes), strict=True)
        state = {name: part.view_as(parameter) for (name, parameter), part in parts}
        return F.cross_entropy(functional_call(model, state, (images,)), labels)

    flat = torch.cat([p.detach().flatten() for p in named.values()])
    return torch.autograd.functional.hessian(loss, flat, vectorize=True).numpy()


def extremes(matrix):
    eigenvalues = np.linalg.eigvalsh(matrix)
    return eigenvalues[-1], max(eigenvalues, key=abs)


def confident_and_wrong(make, images):
    """A model with a large loss, whose Hessian has a negative eigenvalue that dominates.

    If all probabilities are 0 or 1, the convex part of the Hessian is nothing, and what is
    left bends down as much as up.
    """
    model = make("mlp", hidden=[4]).double()
    with torch.no_grad():
        model.output.weight.mul_(200.0)
        model.output.bias.zero_()
    return model, model(images).argmin(dim=1)


@pytest.mark.parametrize("kind", ["mlp", "gru", "tiny"])
def test_eigenvalues_are_those_of_the_full_hessian(make, batch, kind):
    images, labels = batch(12)
    images = images.double()
    if kind == "mlp":
        model = make("mlp", hidden=[5]).double()
    elif kind == "gru":
        model = make("rnn", cell="gru", hidden=3).double()
    else:
        model = nn.Sequential(nn.Flatten(), nn.AvgPool1d(16), nn.Linear(4, 5)).double()
    largest, dominant = extremes(full_hessian(model, images, labels))
    found = sharpness(model, images, labels, tolerance=1e-8, max_restarts=200)
    assert found.largest == pytest.approx(largest, rel=1e-6)
    assert found.dominant == pytest.approx(dominant, rel=1e-6)
    assert found.hessian_products > 0


def test_a_negative_dominant_eigenvalue_is_not_taken_for_the_sharpness(make, batch):
    images = batch(3)[0].double()
    model, labels = confident_and_wrong(make, images)
    largest, dominant = extremes(full_hessian(model, images, labels))
    assert dominant < 0 < largest < -dominant  # the case that is meant
    found = sharpness(model, images, labels, tolerance=1e-8, max_restarts=500)
    assert found.dominant == pytest.approx(dominant, rel=1e-6)
    assert found.largest == pytest.approx(largest, rel=1e-6)


def test_float32_is_good_enough_and_the_same_each_time(make, batch):
    images, labels = batch(16)
    found = sharpness(make("mlp", hidden=[8]), images, labels)
    exact = sharpness(make("mlp", hidden=[8]), images, labels, dtype=torch.float64)
    assert found.largest == pytest.approx(exact.largest, rel=2e-3)
    assert sharpness(make("mlp", hidden=[8]), images, labels).largest == found.largest


def test_attention_can_be_differentiated_twice(batch):
    class Attentive(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.output = nn.Linear(8, 5)

        def forward(self, images):
            rows = images.squeeze(1)
            mixed, _ = self.attention(rows, rows, rows, need_weights=False)
            return self.output(mixed.mean(dim=1))

    torch.manual_seed(0)
    assert sharpness(Attentive(), *batch(4)).largest > 0


def test_lanczos_that_gives_up_says_so(make, batch):
    found = sharpness(make("mlp", hidden=[8]), *batch(8), tolerance=1e-14, max_restarts=1)
    assert math.isnan(found.dominant)
    assert math.isnan(found.largest)
    assert not found.beyond_stability


def test_adams_sharpness_is_that_of_the_preconditioned_hessian(make, batch):
    images, labels = batch(16)
    images = images.double()
    model = make("mlp", hidden=[5]).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    assert math.isnan(sharpness(model, images, labels, optimizer=optimizer).threshold)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    roots = []
    for parameter in model.parameters():
        state = optimizer.state[parameter]
        unbiased = state["exp_avg_sq"] / (1 - 0.999**5)
        roots.append(((1 - 0.9**5) * (unbiased.sqrt() + 1e-8)).flatten())
    scale = torch.cat(roots).numpy() ** -0.5
    expected, _ = extremes(scale[:, None] * full_hessian(model, images, labels) * scale)
    found = sharpness(model, images, labels, optimizer=optimizer, tolerance=1e-8)
    assert found.preconditioned == pytest.approx(expected, rel=1e-5)
    assert found.threshold == pytest.approx(38 / 1e-2)
    assert found.largest != pytest.approx(expected, rel=0.1)


def test_gradient_descent_beyond_two_over_the_rate_is_unstable(make, batch):
    model, data = make("mlp", hidden=[5]), batch(16)
    curvature = sharpness(model, *data).largest
    for rate, beyond in ((1.9 / curvature, False), (2.1 / curvature, True)):
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        found = sharpness(model, *data, optimizer=optimizer)
        assert found.threshold == pytest.approx(2 / rate)
        assert found.preconditioned == found.largest
        assert found.beyond_stability is beyond


class Point(nn.Module):
    """Two parameters of a quadratic."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.tensor([1e-6], dtype=torch.float64))
        self.second = nn.Parameter(torch.tensor([1e-6], dtype=torch.float64))


# Second moments that hardly move, so that the preconditioner is held as the theory has it.
SLOW = 1 - 1e-12
OPTIMIZERS = {
    "descent": (torch.optim.SGD, {}),
    "heavy ball": (torch.optim.SGD, {"momentum": 0.9}),
    "damped": (torch.optim.SGD, {"momentum": 0.8, "dampening": 0.5}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (torch.optim.Adam, {"betas": (0.9, SLOW)}),
    "adam, other beta": (torch.optim.Adam, {"betas": (0.5, SLOW)}),
    "amsgrad": (torch.optim.Adam, {"betas": (0.9, SLOW), "amsgrad": True}),
    "adamw": (torch.optim.AdamW, {"betas": (0.9, SLOW), "weight_decay": 0.0}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": SLOW}),
    "rmsprop with momentum": (torch.optim.RMSprop, {"alpha": SLOW, "momentum": 0.9}),
    "rmsprop, centered": (torch.optim.RMSprop, {"alpha": SLOW, "centered": True}),
    "adagrad": (torch.optim.Adagrad, {"lr_decay": 1e-9}),
}


def prepared(kind, settings):
    """An optimizer of a `Point` with two learning rates and a state that it has settled in."""
    model = Point()
    groups = [{"params": [model.first], "lr": 0.01}, {"params": [model.second], "lr": 0.03}]
    optimizer = kind(groups, **settings)
    if kind is not torch.optim.SGD:
        for parameter, root in ((model.first, 0.7), (model.second, 0.2)):
            square = torch.full_like(parameter, root**2).detach()
            zero = torch.zeros_like(parameter).detach()
            optimizer.state[parameter] = {
                # Adam's corrections for a young average have died out; others ignore it.
                "step": torch.tensor(1e14 if "betas" in settings else 1e3),
                "exp_avg": zero.clone(),
                "exp_avg_sq": square.clone(),
                "max_exp_avg_sq": square.clone(),
                "square_avg": square.clone(),
                "grad_avg": zero.clone(),
                "momentum_buffer": zero.clone(),
                "sum": square.clone(),
            }
    return model, optimizer


@pytest.mark.parametrize("coordinate", ["first", "second"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_threshold_is_where_the_optimizer_itself_begins_to_diverge(name, coordinate):
    largest, last = {}, {}
    for share in (0.97, 1.03):
        model, optimizer = prepared(*OPTIMIZERS[name])
        found = stability_threshold(optimizer, model)
        parameter = model.get_parameter(coordinate)
        curvature = share * found.sharpness * float(found.preconditioner[coordinate])
        sizes = []
        for _ in range(600):
            parameter.grad = curvature * parameter.detach()
            optimizer.step()
            sizes.append(abs(float(parameter.detach())) / 1e-6)
        # Once far away, an optimizer that adapts calms down again: its state has moved.
        largest[share], last[share] = max(sizes), sizes[-1]
    assert last[0.97] < 0.1
    assert largest[1.03] > 100
    assert largest[1.03] > 10 * largest[0.97]


def test_adams_threshold_is_38_over_the_rate():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert stability_threshold(optimizer, model).sharpness == pytest.approx(38e3)


def test_an_unknown_threshold_is_not_invented():
    model = nn.Linear(2, 2)
    model(torch.ones(1, 2)).sum().backward()
    unknown = torch.optim.Adadelta(model.parameters())
    unknown.step()
    untouched_yet = torch.optim.Adagrad(model.parameters())
    standing = torch.optim.SGD(model.parameters(), lr=0.0)
    mixed = torch.optim.SGD(
        [{"params": [model.weight], "momentum": 0.5}, {"params": [model.bias]}], lr=0.1
    )
    for optimizer in (unknown, untouched_yet, standing, mixed):
        assert stability_threshold(optimizer, model) is None


# As sentences --------------------------------------------------------------------------


def said(*values):
    return "\n".join(SHARPNESS.sentences(Sharpness(*values), 128))


def test_sharpness_keeps_its_sign_and_meets_its_threshold():
    text = said(3.0, -8.0, 12.0, 10.0, "2 / lr", 60)
    assert "largest eigenvalue of the Hessian 3.00; the one of largest magnitude is -8.00" in text
    assert "12.0, unstable: above the threshold of 10.0, 2 / lr" in text
    calm = said(3.0, 3.0, 3.0, 10.0, "2 / lr", 60)
    assert "magnitude" not in calm
    assert "3.00, stable: below the threshold of 10.0" in calm
    unknown = said(math.nan, math.nan, math.nan, math.nan, "", 60)
    assert unknown == "largest eigenvalue of the Hessian not found"
