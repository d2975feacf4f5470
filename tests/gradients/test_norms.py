"""The recorded norms against float64 norms of a plain autograd loop, on real digits."""

from __future__ import annotations

import math
from functools import partial
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.data import load_dataset
from gradcli.fast import gate
from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import (
    Gradients,
    accumulator_dtype,
    as_tensor,
    on_host,
    scaled,
    sum_of_squares,
    total_norm,
)
from gradcli.models import CNN, MLP, RNN

MODELS = {
    "mlp": lambda: MLP(input_shape=(1, 28, 28), classes=10, activation=nn.ReLU, hidden=[256, 128]),
    "mlp_with_norms": lambda: MLP(
        input_shape=(1, 28, 28), classes=10, activation=nn.Tanh, hidden=[64, 64], norm="batch"
    ),
    "rnn": lambda: RNN(input_shape=(1, 28, 28), classes=10, activation=nn.Tanh),
    "cnn": lambda: CNN(input_shape=(1, 28, 28), classes=10, activation=nn.ReLU),
    "cnn_2c2d": lambda: CNN(
        input_shape=(1, 28, 28),
        classes=10,
        activation=nn.ReLU,
        channels=[32, 64],
        kernel_size=5,
        hidden=1024,
    ),
}


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    train = load_dataset("mnist5k").train
    return train.inputs[:64].float() / 255, train.targets[:64]


@pytest.mark.parametrize("name", MODELS)
def test_norms_equal_float64_norms_of_plain_autograd(name, digits):
    torch.manual_seed(0)
    model = MODELS[name]()
    F.cross_entropy(model(digits[0]), digits[1]).backward()
    layers = find_layers(model)
    norms = Gradients(model, layers).norms()

    names = [parameter.name for layer in layers for parameter in layer.parameters]
    expected = {name: p.grad.double().norm().item() for name, p in model.named_parameters()}
    assert sorted(names) == sorted(expected)
    for parameter, norm in zip(names, norms, strict=True):
        assert norm == pytest.approx(expected[parameter], rel=1e-6)


@pytest.mark.parametrize("magnitude", [0.0, 1e-42, 1e-24, 1e-20, 1e-3, 1.0, 1e18, 1e30])
@pytest.mark.parametrize("size", [3, 1000, 200_000])
def test_norms_are_right_even_if_float32_sums_are_not(magnitude, size):
    model = nn.Linear(size, 1)
    model.weight.grad = torch.randn(1, size, generator=torch.Generator().manual_seed(1)) * magnitude
    model.bias.grad = torch.full((1,), magnitude)
    weight, bias = Gradients(model, find_layers(model)).norms()
    assert weight == pytest.approx(model.weight.grad.double().norm().item(), rel=1e-6, abs=0)
    assert bias == pytest.approx(model.bias.grad.double().item(), rel=1e-6, abs=0)


def head_of_a_language_model(size: int) -> torch.Tensor:
    """The gradient of a head: few words occur, so few of its rows of 64 are large."""
    generator = torch.Generator().manual_seed(0)
    words = -(-size // 64)
    hidden = torch.randn(64, 64, generator=generator)
    targets = (torch.rand(64, generator=generator).pow(6) * words).long()
    errors = torch.full((64, words), 1 / words)
    errors[torch.arange(64), targets] -= 1
    return (errors.t() @ hidden / 64).flatten()[:size]


NEARLY_LOST = math.sqrt(2**-24 * 0.99)
"""The largest element whose square a float32 sum beside 1 leaves out."""


def lanes_of_large_ones(size: int, period: int, lanes: int) -> torch.Tensor:
    """The first lanes of each period are 1; beside 1, a sum loses all others."""
    elements = torch.full((-(-size // period), period), NEARLY_LOST)
    elements[:, :lanes] = 1.0
    return elements.flatten()[:size]


def one_large(size: int, place: int, small: float) -> torch.Tensor:
    elements = torch.full((size,), small)
    elements[place % size] = 1.0
    return elements


def normal(size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(size))


def equal(size: int, value: float) -> torch.Tensor:
    return torch.full((size,), value)


HARD = {
    "random": normal,
    **{f"equal {x}": partial(equal, value=x) for x in (0.1, 0.55, 0.7, 1.01, 1.3)},
    "of either sign": lambda size: normal(size).sign_() * 0.1,
    "clipped": lambda size: normal(size).clamp_(-0.01, 0.01),
    "half clipped": lambda size: normal(size).clamp_(-0.67, 0.67),
    "head": head_of_a_language_model,
    "few lanes large": lambda size: lanes_of_large_ones(size, 256, 8),
    "many lanes large": lambda size: lanes_of_large_ones(size, 1 << 20, 16),
    "first rows large": lambda size: lanes_of_large_ones(size, 1 << 20, 16 * 128),
    "first large": lambda size: one_large(size, 0, NEARLY_LOST),
    "last large": lambda size: one_large(size, -1, NEARLY_LOST),
    "one large of 1e-3": lambda size: one_large(size, size // 3, 1e-3),
    "one large of 1e-4": lambda size: one_large(size, 7, 1e-4),
    "falling": lambda size: torch.logspace(0, -6, size),
    "sparse": lambda size: torch.where(torch.arange(size) % 97 == 0, normal(size), 0.0),
    "tiny": lambda size: torch.full((size,), 1e-23),
    "barely held": lambda size: torch.full((size,), 1.3e-19),
    "large": lambda size: torch.full((size,), 1e15),
    "huge": lambda size: torch.full((size,), 1e19),
}

SIZES = (
    *(1, 2, 127, 128, 255, 256, 257, 384, 500, 512, 640, 1_000, 1_024, 1_280, 2_048, 4_000, 4_095),
    *(4_096, 4_097, 4_608, 8_192, 16_384, 32_640, 32_767, 32_768, 32_769, 50_176, 65_536, 100_000),
    *(131_071, 131_072, 131_073, 200_704, 262_144, 640_000, 1_000_003),
)


def norm_of(gradient: torch.Tensor) -> float:
    """The exact norm, from sums in float64 that are added up without rounding."""
    return math.sqrt(
        math.fsum(part.double().square().sum().item() for part in gradient.flatten().split(1 << 16))
    )


def measured(*all_gradients: torch.Tensor) -> list[float]:
    """The norms that a module with these gradients has."""
    model = nn.Module()
    for number, gradient in enumerate(all_gradients):
        parameter = nn.Parameter(torch.empty_like(gradient))
        parameter.grad = gradient
        model.register_parameter(f"weight{number}", parameter)
    return Gradients(model, find_layers(model)).norms()


@pytest.mark.parametrize(
    ("kind", "size"),
    [*product(HARD, SIZES), ("equal 0.1", 40_000_000), ("head", 40_000_000)],
)
def test_norms_are_exact_to_a_millionth_whatever_the_elements_are(kind, size):
    gradient = HARD[kind](size)
    exact = norm_of(gradient)
    assert measured(gradient) == pytest.approx([exact], rel=1e-6, abs=0)
    assert math.sqrt(sum_of_squares(gradient)) == pytest.approx(exact, rel=1e-6, abs=0)


@pytest.mark.parametrize("size", [1, 10, 128, 256, 257, 1_024, 4_095, 4_096, 4_097])
def test_those_of_many_layers_that_are_alike_are_as_exact(size):
    gradients = [make(size) for make in HARD.values()]
    assert measured(*gradients) == pytest.approx(list(map(norm_of, gradients)), rel=1e-6, abs=0)


@pytest.mark.parametrize("rows", [16, 64, 100, 128, 256])
@pytest.mark.parametrize("layers", [1, 9])
def test_transposed_and_strided_gradients_are_as_exact(rows, layers):
    for gradient in (
        torch.full((128, rows), 0.1).t(),
        torch.full((rows, 256), 0.7)[:, ::2],
        torch.full((1, 128), 0.1).expand(rows, 128),
    ):
        found = measured(*[gradient] * layers)
        assert found == pytest.approx([norm_of(gradient)] * layers, rel=1e-6, abs=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [10, 300, 5_000, 32_768, 100_000, 200_000])
@pytest.mark.parametrize("layers", [1, 9])
def test_those_of_other_types_are_measured_in_float64(dtype, size, layers):
    gradient = torch.full((size,), 0.1, dtype=dtype)
    found = measured(*[gradient] * layers)
    assert found == pytest.approx([norm_of(gradient)] * layers, rel=1e-12, abs=0)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("strides", [(1, 600), (2, 1200)])
def test_large_gradients_that_are_not_contiguous_are_as_exact(strides, threads):
    gradient = torch.full((1_000_000,), 0.1).as_strided((600, 800), strides)
    model = nn.Linear(800, 600, bias=False)
    model.weight.grad = gradient
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        (norm,) = Gradients(model, find_layers(model)).norms()
    finally:
        torch.set_num_threads(before)
    assert norm == pytest.approx(gradient.double().norm().item(), rel=1e-6)


@pytest.mark.parametrize("fault", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 199_999])
def test_a_single_non_finite_element_of_many_is_not_hidden(fault, place):
    model = nn.Linear(200_000, 1, bias=False)
    model.weight.grad = torch.ones(1, 200_000)
    model.weight.grad[0, place] = fault
    (norm,) = Gradients(model, find_layers(model)).norms()
    assert norm == pytest.approx(fault, nan_ok=True)


def norms_in_float64(model: nn.Module) -> list[float]:
    """Each gradient's norm as float64 has it, 0 for none, in the order of the layers."""
    gradients = [model.get_parameter(name).grad for name in names_of(model)]
    dense = [None if g is None else g.to_dense().double() for g in gradients]
    return [0.0 if g is None else g.norm().item() for g in dense]


def names_of(model: nn.Module) -> list[str]:
    return [parameter.name for layer in find_layers(model) for parameter in layer.parameters]


def test_small_layers_that_are_alike_each_have_their_own_norm():
    # One is zero, one overflows in float32, one underflows, and one is in part too small.
    model = nn.Sequential(*[nn.Linear(12, 12) for _ in range(9)], nn.Linear(12, 500))
    generator = torch.Generator().manual_seed(1)
    magnitudes = [1.0, 1e-42, 1e-24, 1e-3, 1e18, 1e30, 0.0, 1e-19, 3.0, 1.0]
    for layer, magnitude in zip(model, magnitudes, strict=True):
        for parameter in layer.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator) * magnitude
    model[7].weight.grad[0, 0] = 1e-17
    norms = Gradients(model, find_layers(model)).norms()
    assert norms == pytest.approx(norms_in_float64(model), rel=1e-6, abs=0)


def test_a_norm_is_that_of_its_layer_when_others_like_it_have_no_gradient():
    model = nn.Sequential(*[nn.Linear(6, 6) for _ in range(6)])
    model[2].requires_grad_(False)
    gradients = Gradients(model, find_layers(model))
    inputs = torch.randn(8, 6, generator=torch.Generator().manual_seed(2))
    for frozen in (0, 4):
        model[frozen].bias.requires_grad_(False)
        model.zero_grad()
        model(inputs).square().sum().backward()
        norms = gradients.norms()
        assert norms == pytest.approx(norms_in_float64(model), rel=1e-6, abs=0)
        assert norms.count(0.0) == (3 if frozen == 0 else 4)


@pytest.mark.parametrize("sparse", [range(5), (1, 3)])
def test_sparse_gradients_of_tables_that_are_alike(sparse):
    class Tables(nn.Module):
        def __init__(self):
            super().__init__()
            self.tables = nn.ModuleList(nn.Embedding(9, 5, sparse=i in sparse) for i in range(5))

        def forward(self, words):
            return sum((i + 1) * table(words).sum() for i, table in enumerate(self.tables))

    model = Tables()
    model(torch.tensor([1, 3, 3])).backward()
    norms = Gradients(model, find_layers(model)).norms()
    assert norms == pytest.approx(norms_in_float64(model), rel=1e-6)
    # Row 3 was taken twice: by hand, (i + 1) times the root of 5 + 5 * 4.
    assert norms == pytest.approx([5.0 * (i + 1) for i in range(5)], rel=1e-6)


@pytest.mark.parametrize("magnitude", [1e-42, 1e-24, 1e-20, 1.0, 1e18, 1e30])
@pytest.mark.parametrize("private", [True, False])
def test_many_gradients_of_any_size_are_measured_right(magnitude, private, monkeypatch):
    if not private:
        monkeypatch.setenv(gate.SWITCH, "0")
    sizes = (3, 1000, 131_072, 131_073, 300_000, 2, 5, 7, 11, 4096)
    model = nn.ModuleList(nn.Linear(size, 1) for size in sizes)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * magnitude
    found = Gradients(model, find_layers(model)).norms()
    assert found == pytest.approx(norms_in_float64(model), rel=1e-6, abs=0)


@pytest.mark.parametrize(
    "magnitude", [0.0, 1e-42, 1e-24, 1e-20, 1.0, 1e18, 1e30, math.inf, math.nan]
)
@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("missing", [False, True])
def test_on_an_accelerator_they_are_added_up_in_float64(magnitude, private, missing, monkeypatch):
    if not private:
        monkeypatch.setenv(gate.SWITCH, "0")
    model = nn.ModuleList(nn.Linear(size, 1) for size in (3, 1000, 300_000))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) * magnitude
    if missing:
        model[1].weight.grad = None
    gradients = Gradients(model, find_layers(model))
    gradients.device = torch.device("cuda")  # which must not wait for the norms
    found = gradients.norms()
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.float64
    expected = norms_in_float64(model)
    assert found.tolist() == pytest.approx(expected, rel=1e-12, abs=0, nan_ok=True)


@pytest.mark.parametrize("many", [1, 12])
@pytest.mark.parametrize("missing", [False, True])
def test_parameters_of_a_single_number(many, missing):
    class Scales(nn.Module):
        def __init__(self):
            super().__init__()
            self.scales = nn.ParameterList(torch.tensor(1.0 + i) for i in range(many))
            self.unused = nn.Parameter(torch.tensor(1.0), requires_grad=not missing)

    model = Scales()
    sum((i - 3) * scale for i, scale in enumerate([*model.scales, model.unused])).backward()
    expected = [abs(i - 3.0) for i in range(many)] + [0.0 if missing else abs(many - 3.0)]
    found = dict(zip(names_of(model), Gradients(model, find_layers(model)).norms(), strict=True))
    assert [found[f"scales.{i}"] for i in range(many)] + [found["unused"]] == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_layers_converted_after_the_gradients_were_found_are_measured_in_float64(dtype):
    model = nn.Sequential(*[nn.Linear(20, 20) for _ in range(5)])
    gradients = Gradients(model, find_layers(model))
    model.to(dtype)
    model(torch.ones(3, 20, dtype=dtype)).square().sum().backward()
    assert gradients.norms() == pytest.approx(norms_in_float64(model), rel=1e-12)


def test_small_elements_beside_large_ones_do_not_confuse_the_sum():
    # Half of the elements are below what a float32 square can hold; the norm barely is not.
    model = nn.Linear(1000, 1, bias=False)
    model.weight.grad = torch.full((1, 1000), 3e-20)
    model.weight.grad[0, 0] = 1e-18
    (norm,) = Gradients(model, find_layers(model)).norms()
    assert norm == pytest.approx(model.weight.grad.double().norm().item(), rel=1e-6)


def test_non_finite_gradients_are_not_hidden():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    model[0].weight.grad[0, 0] = math.nan
    model[1].bias.grad[0] = math.inf
    norms = Gradients(model, find_layers(model)).norms()
    assert math.isnan(norms[0])
    assert norms[3] == math.inf
    assert norms[1:3] == pytest.approx([2.0, math.sqrt(8)])


def test_missing_sparse_and_transposed_gradients():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(10, 3, sparse=True)
            self.unused = nn.Linear(2, 2)
            self.matrix = nn.Parameter(torch.zeros(4, 5))

    model = Odd()
    model.embedding(torch.tensor([1, 1, 7])).sum().backward()
    model.matrix.grad = torch.arange(20.0).view(5, 4).t()
    layers = find_layers(model)
    named = dict(
        zip(
            (p.name for layer in layers for p in layer.parameters),
            Gradients(model, layers).norms(),
            strict=True,
        )
    )
    assert named["embedding.weight"] == pytest.approx(math.sqrt(3 * 4 + 3))
    assert named["unused.weight"] == named["unused.bias"] == 0.0
    assert named["matrix"] == pytest.approx(math.sqrt(sum(i * i for i in range(20))))


def test_layers_are_the_owners_of_parameters_and_shared_ones_count_once():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(3, 2, bias=False))
    layers = find_layers(model)
    assert [layer.name for layer in layers] == ["0", "3"]
    assert [layer.depth for layer in layers] == [0, 1]
    assert layers[0].shape == (3, 3)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    gradients = Gradients(model, layers)
    assert gradients.layer_norms(gradients.norms()).tolist() == pytest.approx(
        [math.sqrt(12), math.sqrt(6)]
    )


def test_the_generic_path_agrees_with_the_fast_one():
    model = nn.Linear(50, 20)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    layers = find_layers(model)
    fast = Gradients(model, layers).norms()
    in_float64 = Gradients(model.double(), layers)
    assert in_float64.norms() == pytest.approx(fast, rel=1e-6)


def test_norms_of_an_accelerator_are_a_tensor_of_the_same_values():
    model = nn.Linear(50, 20)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    gradients = Gradients(model, find_layers(model))
    on_the_host = gradients.norms()
    gradients.device = torch.device("cuda")  # which must not wait for the norms
    on_the_device = gradients.norms()
    assert isinstance(on_the_device, torch.Tensor)
    assert on_the_device.tolist() == pytest.approx(on_the_host, rel=1e-6)
    assert total_norm(on_the_device).item() == pytest.approx(math.hypot(*on_the_host), rel=1e-6)


def test_clear_does_what_zero_grad_does():
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    Gradients(model, find_layers(model)).clear()
    assert all(parameter.grad is None for parameter in model.parameters())


def three(device="cpu"):
    """Gradients of ones, twos and threes of two layers; the second bias has none."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    for number, parameter in enumerate(list(model.parameters())[:3], start=1):
        parameter.grad = torch.full_like(parameter, float(number))
    gradients = Gradients(model, find_layers(model))
    gradients.device = torch.device(device)
    return gradients


def first_elements(gradients):
    return [None if one is None else one.flatten()[0].item() for one in gradients.current()]


EACH = torch.tensor([1.0, 0.25, 4.0, 8.0], dtype=torch.float64)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("coefficients", "expected"),
    [
        (0.5, [0.5, 1.0, 1.5, None]),
        (torch.tensor(0.5, dtype=torch.float64), [0.5, 1.0, 1.5, None]),
        (EACH, [1.0, 0.5, 12.0, None]),
    ],
)
def test_gradients_are_scaled_by_one_factor_or_by_one_each(device, coefficients, expected):
    gradients = three(device)
    gradients.scale_(coefficients)
    assert first_elements(gradients) == expected
    assert gradients.take_factor() == 1.0


@pytest.mark.parametrize("factor", [0.5, torch.tensor(0.5)])
def test_a_factor_that_all_share_may_be_left_to_the_update(factor):
    gradients = three()
    gradients.leave_scaling = True
    assert gradients.take_factor() == 1.0
    gradients.scale_(factor)
    assert first_elements(gradients) == [1.0, 2.0, 3.0, None]
    assert gradients.take_factor() is factor
    assert gradients.take_factor() == 1.0
    gradients.scale_(EACH)
    assert first_elements(gradients) == [1.0, 0.5, 12.0, None]
    assert gradients.take_factor() == 1.0


def test_norms_of_gradients_that_the_caller_has():
    gradients = three()
    given = [torch.full((4,), 3.0), None, torch.ones(9), torch.zeros(2)]
    assert gradients.norms(given) == [6.0, 0.0, 3.0, 0.0]
    assert gradients.norms() == pytest.approx([2.0, math.sqrt(8), math.sqrt(18), 0.0])


@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_what_derives_from_the_norms_of_parameters(kind):
    gradients, norms = three(), kind([3.0, 4.0, 12.0, 0.0])
    assert as_tensor(norms).tolist() == on_host(norms).tolist() == [3.0, 4.0, 12.0, 0.0]
    assert on_host(norms).dtype == "float64"
    assert total_norm(norms).item() == 13.0
    assert gradients.layer_norms(norms).tolist() == [5.0, 12.0]
    product = scaled(norms, torch.tensor([2.0, 1.0, 0.5, 1.0]))
    assert type(product) is type(norms)
    assert list(map(float, product)) == [6.0, 4.0, 6.0, 0.0]


def test_the_sum_of_squares_of_other_tensors():
    assert sum_of_squares(None) == 0.0
    assert sum_of_squares(torch.tensor([3.0 + 4.0j, 1.0j])) == pytest.approx(26.0)
    twice = torch.sparse_coo_tensor([[1, 1]], [1.0, 2.0], (3,), check_invariants=True)
    assert sum_of_squares(twice) == pytest.approx(9.0)
    assert sum_of_squares(torch.tensor([0.5, 0.5], dtype=torch.float64)) == pytest.approx(0.5)


def test_the_widest_type_to_sum_in():
    assert accumulator_dtype(torch.device("mps")) is torch.float32
    assert accumulator_dtype(torch.device("cuda")) is torch.float64
