"""The loss along the negative gradient."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.probes.descent import DESCENT, DescentCurve, loss_along_gradient


def test_losses_are_those_at_the_weights_moved(make, batch):
    model = make("mlp", hidden=[10])
    images, labels = batch(16)
    curve = loss_along_gradient(model, images, labels)
    twin, images = make("mlp", hidden=[10]).double(), images.double()
    loss = F.cross_entropy(twin(images), labels)
    gradients = torch.autograd.grad(loss, twin.parameters())
    assert curve.start_loss == pytest.approx(loss.item(), rel=1e-12)
    assert curve.slope == pytest.approx(-sum(g.square().sum().item() for g in gradients))
    at = 0.0
    with torch.no_grad():
        for step, expected in zip(curve.steps, curve.losses, strict=True):
            for parameter, gradient in zip(twin.parameters(), gradients, strict=True):
                parameter.sub_((step - at) * gradient)
            at = step
            assert F.cross_entropy(twin(images), labels).item() == pytest.approx(expected)


def test_short_steps_follow_the_slope_and_the_best_is_the_lowest(make, batch):
    curve = loss_along_gradient(make("mlp", hidden=[10]), *batch(16))
    fall = curve.losses[:4] - curve.start_loss
    assert fall == pytest.approx(curve.slope * curve.steps[:4], rel=1e-3)
    assert curve.descends
    assert curve.best_loss == curve.losses.min()
    assert curve.best_step == curve.steps[curve.losses.argmin()]
    below = curve.losses[curve.steps <= curve.descends_to]
    assert (below < curve.start_loss).all()
    assert curve.relative_lengths[[0, -1]] == pytest.approx([1e-6, 1.0])


class Lying(torch.autograd.Function):
    """The identity with a derivative of -1."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Uphill(nn.Module):
    def __init__(self):
        super().__init__()
        self.output = nn.Linear(64, 5)

    def forward(self, images):
        return Lying.apply(self.output(images.flatten(1)))


def test_a_wrong_gradient_is_seen_not_to_descend(batch):
    torch.manual_seed(0)
    curve = loss_along_gradient(Uphill(), *batch(16))
    assert not curve.descends
    assert (curve.best_step, curve.best_loss) == (0.0, curve.start_loss)


def test_without_a_gradient_there_is_no_curve(make, batch):
    model = make("mlp", hidden=[4])
    with torch.no_grad():
        model.output.weight[0, 0] = math.nan
    curve = loss_along_gradient(model, *batch(8))
    assert np.isnan(curve.losses).all()
    assert not curve.descends


# As sentences --------------------------------------------------------------------------


def curve(**changes):
    lengths = np.array([0.001, 0.01, 0.1, 1.0])
    values = {
        "steps": 20 * lengths,
        "relative_lengths": lengths,
        "losses": np.array([2.2, 1.5, 2.0, np.inf]),
        "start_loss": 2.3,
        "slope": -5.0,
        "best_step": 0.2,
        "best_loss": 1.5,
        "descends_to": 2.0,
    }
    return DescentCurve(**(values | changes))


def test_descent_says_how_far():
    text = "\n".join(DESCENT.sentences(curve(), 128))
    assert "falls from 2.3000 to 1.5000, at 0.200 times the gradient (1% of the weights'" in text
    assert "below its start up to 2.00 times the gradient" in text
    nowhere = DESCENT.sentences(curve(best_step=0.0, descends_to=0.0), 128)
    assert "does not lower the loss" in nowhere[0]
