"""Each clipping rule against an independent reference, and the properties that all must have."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.gradients.clipping import (
    AutoClip,
    ClipAGC,
    ClipNorm,
    ClipPerLayer,
    ClipValue,
    NoClip,
    ZClip,
)
from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Gradients

RULES = {
    "none": NoClip,
    "norm": lambda: ClipNorm(0.5),
    "per_layer": lambda: ClipPerLayer(0.3),
    "value": lambda: ClipValue(0.02),
    "agc": lambda: ClipAGC(0.01),
    "autoclip": lambda: _experienced(AutoClip(10.0)),
    "zclip": lambda: _experienced(ZClip()),
}
KEEPS_DIRECTION = ["none", "norm", "autoclip", "zclip"]


def _experienced(rule):
    """Return the rule after 40 norms around 0.5."""
    generator = np.random.default_rng(3)
    for norm in generator.normal(0.5, 0.05, 40):
        rule.observe(torch.tensor(norm, dtype=torch.float64))
    return rule


def _network(scale: float = 1.0, seed: int = 0) -> tuple[nn.Module, Gradients]:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 8), nn.Linear(8, 3))
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * scale
    return model, Gradients(model, find_layers(model))


def _vector(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.reshape(-1) for p in model.parameters()]).double()


def _frozen(rule, gradients):
    """Clip with the rule's statistics as they stand."""
    return getattr(rule, "clip", rule)(gradients, gradients.norms())


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_returned_norms_are_those_of_the_clipped_gradients(name, scale):
    _, gradients = _network(scale)
    after = RULES[name]()(gradients, gradients.norms())
    assert after == pytest.approx(gradients.norms(), rel=1e-5)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_rules_do_the_same_on_an_accelerator(name, scale):
    """There norms are a tensor, and no branch may depend on their values."""
    model, gradients = _network(scale)
    twin, device_gradients = _network(scale)
    after = RULES[name]()(gradients, gradients.norms())
    device_gradients.device = torch.device("cuda")
    device_after = RULES[name]()(device_gradients, device_gradients.norms())
    assert isinstance(device_after, torch.Tensor)
    assert device_after.tolist() == pytest.approx(after, rel=1e-5)
    torch.testing.assert_close(_vector(twin), _vector(model), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", RULES)
def test_clipping_twice_equals_once(name):
    model, gradients = _network()
    rule = RULES[name]()
    _frozen(rule, gradients)
    once = _vector(model)
    _frozen(rule, gradients)
    torch.testing.assert_close(_vector(model), once, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", RULES)
def test_gradients_are_never_made_larger(name):
    model, gradients = _network()
    before = _vector(model)
    RULES[name]()(gradients, gradients.norms())
    assert bool((_vector(model).abs() <= before.abs() * (1 + 1e-6)).all())


@pytest.mark.parametrize("name", KEEPS_DIRECTION)
def test_norm_rules_keep_the_direction(name):
    model, gradients = _network()
    before = _vector(model)
    RULES[name]()(gradients, gradients.norms())
    assert torch.cosine_similarity(before, _vector(model), dim=0).item() == pytest.approx(1.0)


def test_per_layer_keeps_the_direction_of_each_layer_but_not_of_the_whole():
    model, gradients = _network()
    before = copy.deepcopy([[p.grad for p in module.parameters()] for module in model])
    whole = _vector(model)
    ClipPerLayer(0.3)(gradients, gradients.norms())
    for module, old in zip(model, before, strict=True):
        if old:
            a = torch.cat([g.reshape(-1) for g in old])
            b = torch.cat([p.grad.reshape(-1) for p in module.parameters()])
            assert torch.cosine_similarity(a, b, dim=0).item() == pytest.approx(1.0)
            assert b.norm().item() == pytest.approx(0.3, rel=1e-5)
    assert torch.cosine_similarity(whole, _vector(model), dim=0).item() < 0.999


@pytest.mark.parametrize("name", RULES)
def test_zero_gradients_stay_zero(name):
    model, gradients = _network(0.0)
    after = RULES[name]()(gradients, gradients.norms())
    assert not bool(_vector(model).any())
    assert after == [0.0] * len(after)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_gradient_is_left_alone_and_leaves_no_trace(name, bad):
    # Unlike clip_grad_norm_, which turns every gradient into NaN (pytorch #46849).
    model, gradients = _network()
    model[2].weight.grad[1, 1] = bad
    before = _vector(model)
    rule = RULES[name]()
    state = copy.deepcopy(rule.state_dict())
    rule(gradients, gradients.norms())
    torch.testing.assert_close(_vector(model), before, rtol=0, atol=0, equal_nan=True)
    for key, value in rule.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)


@pytest.mark.parametrize("max_norm", [0.01, 1.0, 1e6])
def test_norm_equals_torch(max_norm):
    model, gradients = _network()
    twin = copy.deepcopy(model)
    for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
        other.grad = parameter.grad.clone()
    total = torch.nn.utils.clip_grad_norm_(twin.parameters(), max_norm)
    norms = gradients.norms()
    assert math.hypot(*norms) == pytest.approx(total.item(), rel=1e-5)
    ClipNorm(max_norm)(gradients, norms)
    for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-5, atol=0)


def test_value_equals_torch():
    model, gradients = _network()
    expected = _vector(model).clamp(-0.02, 0.02)
    ClipValue(0.02)(gradients, gradients.norms())
    torch.testing.assert_close(_vector(model), expected, rtol=1e-7, atol=0)


def test_agc_equals_the_formula_unit_by_unit():
    model, gradients = _network()
    expected = []
    for parameter in model.parameters():
        weight, gradient = parameter.detach().numpy(), parameter.grad.numpy().astype(np.float64)
        units = [...] if weight.ndim == 1 else range(len(weight))
        for unit in units:
            limit = 0.01 * max(np.linalg.norm(weight[unit].astype(np.float64)), 1e-3)
            size = np.linalg.norm(gradient[unit])
            if size > limit:
                gradient[unit] *= limit / size
        expected.append(gradient)
    untouched = [p.grad.clone() for p in model[3].parameters()]
    ClipAGC(0.01)(gradients, gradients.norms())
    for parameter, wanted in list(zip(model.parameters(), expected, strict=True))[:4]:
        np.testing.assert_allclose(parameter.grad.numpy(), wanted, rtol=1e-5)
    for parameter, wanted in zip(model[3].parameters(), untouched, strict=True):
        assert torch.equal(parameter.grad, wanted), "the last layer is left out"
    ClipAGC(0.01, clip_output=True)(gradients, gradients.norms())
    np.testing.assert_allclose(model[3].weight.grad.numpy(), expected[4], rtol=1e-5)


@pytest.mark.parametrize("clip_output", [False, True])
def test_agc_leaves_out_the_parameters_of_the_last_layer_and_no_others(clip_output):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2, bias=clip_output))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    gradients = Gradients(model, find_layers(model))
    ClipAGC(0.01, clip_output=clip_output)(gradients, gradients.norms())
    clipped = [bool((parameter.grad < 1).all()) for parameter in model.parameters()]
    assert clipped == ([True] * 4 if clip_output else [True, True, False])


def test_agc_assumes_a_norm_for_weights_of_zero():
    model = nn.Linear(4, 2, bias=False)
    nn.init.zeros_(model.weight)
    model.weight.grad = torch.full((2, 4), 2.0)  # of norm 4
    gradients = Gradients(model, find_layers(model))
    after = ClipAGC(0.5, eps=0.1, clip_output=True)(gradients, gradients.norms())
    assert after == pytest.approx([math.hypot(0.05, 0.05)])


@pytest.mark.parametrize("percentile", [0.0, 10.0, 50.0, 90.0, 100.0])
@pytest.mark.parametrize("count", [1, 2, 7, 5000])
def test_autoclip_percentile_is_within_one_percent_of_numpy(percentile, count):
    norms = np.random.default_rng(0).lognormal(0.0, 3.0, count)
    rule = AutoClip(percentile)
    for norm in norms:
        rule.observe(torch.tensor(norm))
    assert rule.limit().item() == pytest.approx(np.percentile(norms, percentile), rel=0.01)


@pytest.mark.parametrize("magnitude", [1e-25, 1e25])
def test_autoclip_holds_extreme_norms(magnitude):
    rule = AutoClip(50.0)
    rule.observe(torch.tensor(magnitude, dtype=torch.float64))
    assert rule.limit().item() == pytest.approx(magnitude, rel=0.01)


@pytest.mark.parametrize(
    ("norm", "limit"), [(0.0, 1e-30), (1e-40, 1e-30), (1e-30, 1e-30), (1e30, 1e30), (1e35, 1e30)]
)
def test_autoclip_counts_norms_beyond_its_ends_at_them(norm, limit):
    rule = AutoClip(50.0)
    rule.observe(torch.tensor(norm, dtype=torch.float64))
    assert rule.limit().item() == pytest.approx(limit, rel=0.0076, abs=0)


def test_autoclip_interpolates_between_two_norms():
    rule = AutoClip(25.0)
    for norm in (1.0, 9.0):
        rule.observe(torch.tensor(norm))
    assert rule.limit().item() == pytest.approx(3.0, rel=0.01)


def test_autoclip_without_a_history_limits_nothing():
    rule = AutoClip(50.0)
    assert rule.limit().item() == math.inf
    rule.observe(torch.tensor(math.nan))
    assert rule.limit().item() == math.inf


def test_autoclip_needs_no_more_memory_with_time():
    rule = AutoClip()
    size = rule.counts.numel()
    for norm in range(1, 2000):
        rule.observe(torch.tensor(float(norm)))
    assert rule.counts.numel() == size
    assert int(rule.counts.sum()) == 1999


def test_zclip_equals_the_published_procedure():
    generator = np.random.default_rng(1)
    norms = generator.normal(2.0, 0.2, 120)
    norms[[50, 51, 90]] = [40.0, 9.0, 3.0]
    rule = ZClip()
    mean = variance = 0.0
    cut = []
    for index, norm in enumerate(norms):
        model = nn.Linear(1, 1, bias=False)
        model.weight.grad = torch.tensor([[norm]], dtype=torch.float32)
        gradients = Gradients(model, find_layers(model))
        (after,) = rule(gradients, gradients.norms())

        norm = float(np.float32(norm))
        wanted = norm
        if index >= 25:
            deviation = math.sqrt(variance)
            z = (norm - mean) / deviation
            if z > 2.5:
                wanted = mean + 2.5 * deviation / (z / 2.5)
                cut.append(index)
            mean = 0.97 * mean + 0.03 * wanted
            variance = 0.97 * variance + 0.03 * (wanted - mean) ** 2
        elif index == 24:
            first = norms[:25].astype(np.float32).astype(np.float64)
            mean, variance = first.mean(), first.var()
        assert after == pytest.approx(wanted, rel=1e-5)
    assert {50, 51, 90} <= set(cut)


def test_zclip_limits_from_the_first_norm_after_the_warm_up_on():
    rule = ZClip(warmup_steps=3)
    spike = torch.tensor(100.0, dtype=torch.float64)
    for norm in (1.0, 2.0, 3.0):
        assert rule.limit(spike).item() == math.inf
        rule.observe(torch.tensor(norm, dtype=torch.float64))
    # Mean 2, variance 2/3.
    deviation = math.sqrt(2 / 3)
    z = (100 - 2) / deviation
    assert rule.limit(spike).item() == pytest.approx(2 + 2.5 * deviation / (z / 2.5))
    assert rule.limit(torch.tensor(2 + 2.4 * deviation)).item() == math.inf
    assert rule.limit(torch.tensor(2 + 2.6 * deviation)).item() < 2 + 2.5 * deviation


def test_zclip_moves_its_averages_after_the_warm_up():
    rule = ZClip(decay=0.75, warmup_steps=2)
    for norm in (1.0, 3.0, 4.0):
        rule.observe(torch.tensor(norm, dtype=torch.float64))
    # From mean 2 and variance 1: a quarter of the way to 4, and to (4 - 2.5)^2.
    assert rule.statistics.tolist() == [3.0, 2.5, 1.0 + 0.25 * (1.5**2 - 1.0)]


@pytest.mark.parametrize("make", [AutoClip, ZClip])
def test_statistics_carry_over(make):
    whole, first = make(), make()
    norms = np.random.default_rng(2).lognormal(0, 1, 60)
    for norm in norms[:30]:
        whole.observe(torch.tensor(norm))
        first.observe(torch.tensor(norm))
    second = make()
    second.load_state_dict(first.state_dict())
    for norm in norms[30:]:
        whole.observe(torch.tensor(norm))
        second.observe(torch.tensor(norm))
    for key, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])


def test_defaults_are_those_of_the_papers():
    assert ClipNorm().max_norm == ClipPerLayer().max_norm == 1.0
    assert ClipValue().max_value == 0.01
    agc, zclip = ClipAGC(), ZClip()
    assert (agc.clip_factor, agc.eps, agc.clip_output) == (0.04, 1e-3, False)
    assert AutoClip().percentile == 10.0
    assert (zclip.z_threshold, zclip.decay, zclip.warmup_steps) == (2.5, 0.97, 25)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClipNorm(0.0),
        lambda: ClipPerLayer(-1.0),
        lambda: ClipValue(0.0),
        lambda: ClipAGC(-0.1),
        lambda: AutoClip(100.5),
        lambda: AutoClip(-0.5),
        lambda: ZClip(decay=0.0),
        lambda: ZClip(z_threshold=0.0),
        lambda: ZClip(warmup_steps=0),
        lambda: ClipAGC(eps=0.0),
        lambda: ZClip(decay=1.0),
        lambda: ClipNorm(math.nan),
    ],
)
def test_limits_out_of_range_are_refused(make):
    with pytest.raises(UserError, match="must be"):
        make()


@pytest.mark.parametrize("size", [300, 600, 5_000, 32_768, 131_072, 200_704])
@pytest.mark.parametrize("layers", [1, 9])
@pytest.mark.parametrize("max_value", [0.01, 0.7, 100.0])
def test_norms_of_gradients_limited_by_value_are_exact(size, layers, max_value):
    """Nearly all elements are equal then, and each rounding of their sum goes the same way."""
    model = nn.ModuleList(nn.Linear(size, 1, bias=False) for _ in range(layers))
    generator = torch.Generator().manual_seed(size)
    for parameter in model.parameters():
        parameter.grad = 10 * torch.randn(parameter.shape, generator=generator)
    gradients = Gradients(model, find_layers(model))
    norms = ClipValue(max_value)(gradients, gradients.norms())
    exact = [parameter.grad.double().norm().item() for parameter in model.parameters()]
    assert norms == pytest.approx(exact, rel=1e-6)
