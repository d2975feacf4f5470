"""The cosine between gradients."""

import math

import pytest
import torch

from gradcli.probes.cosine import COSINE, StepCosine, gradient_cosine


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((4, 3), (5,))]


def test_it_is_the_cosine_of_the_joint_vectors():
    a, b = draw(0), draw(1)
    flat = [torch.cat([t.flatten() for t in x]) for x in (a, b)]
    expected = torch.nn.functional.cosine_similarity(*flat, dim=0).item()
    assert gradient_cosine(a, b) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("scale", [3.0, 1e-25, 1e25])
def test_it_does_not_depend_on_the_scale(scale):
    a = draw(0)
    scaled = [scale * t for t in a]
    assert gradient_cosine(a, scaled) == pytest.approx(1.0, rel=1e-5)
    assert gradient_cosine(scaled, [-t for t in scaled]) == pytest.approx(-1.0, rel=1e-5)


def test_there_is_none_without_a_direction():
    assert math.isnan(gradient_cosine(draw(0), [torch.zeros(4, 3), torch.zeros(5)]))
    assert math.isnan(gradient_cosine(draw(0), [torch.full((4, 3), math.inf), torch.zeros(5)]))


def test_steps_are_compared_with_the_one_before_though_tensors_are_reused():
    step_cosine, gradients = StepCosine(), draw(0)
    assert math.isnan(step_cosine(gradients))
    for seed in (1, 2):
        before = [t.clone() for t in gradients]
        for tensor, new in zip(gradients, draw(seed), strict=True):
            tensor.copy_(new)
        assert step_cosine(gradients) == pytest.approx(gradient_cosine(before, draw(seed)))


# As sentences --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cosines", "meaning"),
    [((0.8, 0.4), "agree"), ((0.1, -0.1), "noise dominates"), ((-0.5, -0.9), "oscillate")],
)
def test_cosines_as_sentences(cosines, meaning):
    (text,) = COSINE.sentences(cosines, 128)
    assert meaning in text
    assert f"mean {sum(cosines) / 2:+.2f}" in text


def test_unknown_cosines_are_reported_as_unknown():
    assert COSINE.sentences((math.nan,), 128)[0].startswith("unknown")
