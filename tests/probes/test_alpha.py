"""The parabola along a step."""

import math

import pytest
import torch
import torch.nn.functional as F

from gradcli.probes.alpha import ALPHA, StepFit, fit_step, step_alpha


@pytest.mark.parametrize("alpha", [-0.9, -0.5, 0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("length", [1e-4, 1.0, 300.0])
def test_on_a_parabola_it_is_where_the_step_ended(alpha, length):
    minimum = length / (1 + alpha)

    def height(s):
        return 2.0 + 1.5 * (s - minimum) ** 2

    def slope(s):
        return 3.0 * (s - minimum)

    fit = fit_step(height(0.0), height(length), slope(0.0), slope(length), length)
    assert fit.alpha == pytest.approx(alpha, abs=1e-6)
    assert fit.curvature == pytest.approx(3.0, rel=1e-4)


def test_it_does_not_depend_on_the_unit_of_length():
    fit = fit_step(1.0, 0.7, -0.9, 0.2, 1.0)
    assert fit_step(1.0, 0.7, -0.9 / 5, 0.2 / 5, 5.0).alpha == pytest.approx(fit.alpha)
    assert fit.alpha > -1


def test_a_step_over_a_hilltop_still_goes_downhill():
    assert fit_step(1.0, 0.2, -0.5, -1.1, 1.0).alpha == -1.0


def test_no_step_and_no_numbers_have_none():
    assert math.isnan(fit_step(1.0, 1.0, math.nan, math.nan, 0.0).alpha)
    assert math.isnan(fit_step(1.0, math.inf, -1.0, math.nan, 1.0).alpha)


def test_the_ends_are_loss_and_slope_on_the_batch(make, batch):
    model = make("mlp", hidden=[6])
    images, labels = batch(12)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses, gradients = [], []
    for _ in range(2):
        loss = F.cross_entropy(model(images), labels)
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss, model.parameters()))
        if len(losses) == 1:
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients[0], strict=True):
                    parameter.sub_(0.3 * gradient)
    step = [-0.3 * gradient for gradient in gradients[0]]
    length = math.sqrt(sum(s.square().sum().item() for s in step))
    slopes = [
        sum((g * s).sum().item() for g, s in zip(at, step, strict=True)) / length
        for at in gradients
    ]
    fit = step_alpha(model, before, images, labels)
    assert (fit.loss_before, fit.loss_after) == pytest.approx(losses, rel=1e-6)
    assert (fit.slope_before, fit.slope_after) == pytest.approx(slopes, rel=1e-4)
    assert fit.step_length == pytest.approx(length, rel=1e-5)
    assert -1 < fit.alpha < 0  # a short step downhill ends before the minimum
    assert math.isnan(step_alpha(model, dict(model.named_parameters()), images, labels).alpha)


# As sentences --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "meaning"),
    [(-0.9, "well before"), (0.1, "near"), (0.9, "beyond"), (1.2, "overshoot")],
)
def test_alpha_as_a_sentence(alpha, meaning):
    fits = tuple(StepFit(one, 1.0, 0.1, 2.0, 1.9, -1.0, 0.0) for one in (alpha, math.nan))
    (text,) = ALPHA.sentences(fits, 128)
    assert meaning in text
    assert f"median {alpha:+.2f}" in text
    assert "over 1 step" in text
