"""How exact the norms of gradients are, and what they cost compared with a single float32 sum.

A gradient is measured as at every training step, by `Gradients.norms`: alone, and as one of twenty
alike, as in a deep network; and as the layer probes do, by `sum_of_squares`. The first table has
the worst error of the three, relative to float64, by size and kind:

    random        normally distributed
    equal         all equal, for many values
    clipped       normally distributed and limited, so that nearly all, or half, are equal in size
    one large     1, and all others equal and small, at worst lost by a sum beside 1
    large first   the first few, one or more rows, or few of each row are 1, and all others such
    sparse        nearly all are 0
    head          of a language model's head: few rows are large, all others nearly 0
    extreme       of magnitudes whose squares float32 cannot hold, or barely
    strided       transposed

The second table has the times. Beside them stands what a single sum in float32 takes, in turn on
the same gradients: a dot product of one, `torch._foreach_norm` of twenty; and its worst error.

    python benchmarks/norms.py [--threads 1 2] [--sizes N ...] [--at-most ERROR] [--rounds N]

Exits with 1 if an error is larger than 1e-6 (`--at-most`).
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Gradients, sum_of_squares

SIZES = (
    *(10, 128, 256, 257, 640, 1_024, 1_280, 4_096, 4_608, 16_384, 32_768, 32_769, 50_176),
    *(100_000, 131_072, 200_704, 640_000, 3_200_000, 40_000_000),
)
ALIKE = 20
# Twenty gradients of more elements would not fit into memory, or show nothing new.
ALIKE_TO = 1 << 18
# Over two binades of squares, none with a short mantissa: sums of those would be exact.
VALUES = (*np.linspace(0.507, 1.993, 29).tolist(), 0.01, 0.1, 0.3, 0.7, 1.01, 1.3)
NEARLY_LOST = math.sqrt(2**-24 * 0.99)

Way = Callable[[Sequence[Tensor]], list[float]]


def gradients_of(size: int) -> dict[str, Iterator[Tensor]]:
    """Give gradients of a size by kind; each is made when it is asked for."""
    generator = torch.Generator().manual_seed(size)
    # Of the largest, a few values do.
    values = VALUES if size < 1_000_000 else VALUES[::5]

    def normal() -> Tensor:
        return torch.randn(size, generator=generator)

    def ones_then_small(count: int, period: int, small: float) -> Tensor:
        elements = torch.full((-(-size // period) * period,), small)
        elements.view(-1, period)[:, :count] = 1.0
        return elements[:size]

    return {
        "random": (normal() for _ in range(3)),
        "equal": (torch.full((size,), value) for value in values),
        "clipped": (normal().clamp_(-limit, limit) for limit in (0.01, 0.67)),
        "one large": (ones_then_small(1, size, small) for small in (NEARLY_LOST, 1e-3, 1e-4)),
        "large first": (
            ones_then_small(min(count, size), min(period, size), NEARLY_LOST)
            for count, period in ((8, size), (16, size), (2_048, size), (4_096, size), (8, 256))
        ),
        "sparse": (normal() * (torch.arange(size) % 97 == 0) for _ in range(1)),
        "head": (head_of_a_language_model(size, generator) for _ in range(1)),
        "extreme": (torch.full((size,), value) for value in (1e-42, 1e-23, 1.3e-19, 1e15, 1e30)),
        "strided": (
            torch.full((size // columns, columns), 0.1).t()
            for columns in (2, 64)
            if size % columns == 0
        ),
    }


def head_of_a_language_model(size: int, generator: torch.Generator) -> Tensor:
    """Return the gradient of a head of `size` weights: softmax minus one-hot, times the inputs.

    Words are drawn from few of all, so that few rows are large and all others nearly 0.
    """
    features, batch = 64, 64
    words = -(-size // features)
    hidden = torch.randn(batch, features, generator=generator)
    targets = (torch.rand(batch, generator=generator).pow(6) * words).long()
    errors = torch.full((batch, words), 1 / words)
    errors[torch.arange(batch), targets] -= 1
    return (errors.t() @ hidden / batch).flatten()[:size]


def gradients_of_module(size: int, count: int) -> Gradients:
    """Return the gradients of a module with `count` parameters of `size` elements."""
    module = nn.Module()
    for place in range(count):
        module.register_parameter(f"weight{place}", nn.Parameter(torch.zeros(size)))
    return Gradients(module, find_layers(module))


def by_norms(size: int, count: int) -> Way:
    """Return what measures the gradients of all parameters of a module at once."""
    gradients = gradients_of_module(size, count)

    def measure(each: Sequence[Tensor]) -> list[float]:
        norms = gradients.norms(each)
        assert isinstance(norms, list)
        return norms

    return measure


def by_squares(each: Sequence[Tensor]) -> list[float]:
    return [math.sqrt(sum_of_squares(one)) for one in each]


def by_product(each: Sequence[Tensor]) -> list[float]:
    return [math.sqrt(torch.dot(one, one).item()) for one in each]


def by_foreach(each: Sequence[Tensor]) -> list[float]:
    return [norm.item() for norm in torch._foreach_norm(each)]


def exact_norm(gradient: Tensor) -> float:
    parts = gradient.flatten().split(1 << 16)
    return math.sqrt(math.fsum(float(part.double().square().sum()) for part in parts))


def worst_errors(size: int) -> dict[str, float]:
    """Return the largest relative error of each kind, and of single sums of equal elements."""
    one, many = by_norms(size, 1), by_norms(size, ALIKE)
    errors: dict[str, float] = {}
    product = foreach = 0.0
    for kind, gradients in gradients_of(size).items():
        worst = 0.0
        for gradient in gradients:
            exact = exact_norm(gradient)
            found = [*one([gradient]), *by_squares([gradient])]
            if size <= ALIKE_TO:
                found += many([gradient] * ALIKE)
            worst = max(worst, *(abs(norm / exact - 1) for norm in found)) if exact else worst
            if kind == "equal":
                product = max(product, abs(by_product([gradient])[0] / exact - 1))
                foreach = max(foreach, abs(by_foreach([gradient])[0] / exact - 1))
        errors[kind] = worst
    return errors | {"dot": product, "foreach": foreach}


def times(gradients: Sequence[Sequence[Tensor]], ways: Sequence[Way], rounds: int) -> list[float]:
    """Return the median time of each way, in seconds; they take turns."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for each in gradients:
            for way, taken in zip(ways, seconds, strict=True):
                before = time.perf_counter()
                way(each)
                taken.append(time.perf_counter() - before)
    return [float(np.median(taken)) for taken in seconds]


def print_errors(sizes: Sequence[int]) -> float:
    """Print the worst error of each kind and size, and return the worst of all."""
    worst = 0.0
    for size in sizes:
        errors = worst_errors(size)
        single = [errors.pop("dot"), errors.pop("foreach")]
        if size == sizes[0]:
            print(f"{'elements':>12}" + "".join(f"{kind:>12}" for kind in errors), end="")
            print(f"{'equal, dot':>14}{'foreach':>10}")
        cells = [f"{error:12.1e}" for error in errors.values()]
        print(f"{size:>12,}" + "".join(cells) + f"{single[0]:14.1e}{single[1]:10.1e}", flush=True)
        worst = max(worst, *errors.values())
    return worst


def print_times(sizes: Sequence[int], rounds: int) -> None:
    """Print what a norm takes alone and as one of many, in us, and the ratio to a single sum."""
    print(f"{'elements':>12}{'dot':>10}{'norms':>10}{'ratio':>8}", end="")
    print(f"{f'{ALIKE} foreach':>14}{f'{ALIKE} norms':>12}{'ratio':>8}")
    for size in sizes:
        copies = max(2, min(40, 4_000_000 // size))
        all_gradients = [torch.randn(size) for _ in range(copies)]
        turns = max(3, rounds // copies)
        ways = [by_product, by_norms(size, 1)]
        product, norms = times([[one] for one in all_gradients], ways, turns)
        line = f"{size:>12,}{product * 1e6:10.1f}{norms * 1e6:10.1f}{norms / product:8.2f}"
        if size <= ALIKE_TO:
            ways = [by_foreach, by_norms(size, ALIKE)]
            layers = [torch.randn(size) for _ in range(ALIKE)]
            foreach, many = times([layers], ways, max(20, rounds // ALIKE))
            line += f"{foreach * 1e6:14.0f}{many * 1e6:12.0f}{many / foreach:8.2f}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--at-most", type=float, default=1e-6, metavar="ERROR")
    parser.add_argument("--rounds", type=int, default=2_000, metavar="N")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, torch {torch.__version__}")
    worst = 0.0
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(f"\n{threads} thread{'s' if threads > 1 else ''}: the worst relative error")
        worst = max(worst, print_errors(arguments.sizes))
        print("\nthe time in us")
        print_times(arguments.sizes, arguments.rounds)
    print(f"\nworst error {worst:.2e}")
    sys.exit(not worst <= arguments.at_most)


if __name__ == "__main__":
    main()
