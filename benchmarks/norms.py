"""How exact the norms of large gradients are, and what they cost: today's sums against one product.

A gradient of each size is measured as at every training step, by `Gradients.norms`, and as the
layer probes do, by `sum_of_squares`; beside them stands one float32 dot product. The error is that
of the norm, relative to float64, the worst of several gradients: random ones, equal elements (of
several values), elements clipped to equal ones, and those that an embedding language model's head
gets, with a few large rows. The time is the median over several gradients, measured in turn.

    python benchmarks/norms.py [--threads 1 2] [--sizes N ...] [--at-most ERROR]

Prints one line per size. Exits with 1 if a norm of more than 131,072 elements has a larger error
than 1e-6 (`--at-most`). Smaller ones are measured by one dot product, and with many layers by one
call for all, which has about twice the error.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Gradients, sum_of_squares

SIZES = (4_096, 32_768, 131_072, 200_704, 640_000, 3_200_000, 40_000_000)
LARGE = 131_072
VALUES = (0.01, 0.1, 0.3, 0.7, 1.0, 1.01, 1.3)


def gradients_of(size: int) -> Iterator[Tensor]:
    """Give gradients (n,) whose norms are hard or usual to sum, one after another."""
    generator = torch.Generator().manual_seed(size)
    usual = torch.randn(size, generator=generator)
    yield usual
    yield usual.clamp(-0.01, 0.01)
    for value in VALUES:
        yield torch.full((size,), value)
    yield head_of_a_language_model(size, generator)


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


def product(gradient: Tensor) -> float:
    """Return the norm from one dot product, as it was measured before."""
    return math.sqrt(torch.dot(gradient, gradient).item())


def by_gradients(size: int) -> Callable[[Tensor], float]:
    """Return what measures a gradient of a module's only parameter."""
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(size))
    gradients = Gradients(model, find_layers(model))

    def measure(gradient: Tensor) -> float:
        norms = gradients.norms([gradient])
        return float(norms[0])

    return measure


def by_squares(gradient: Tensor) -> float:
    return math.sqrt(sum_of_squares(gradient))


def worst_errors(size: int, ways: list[Callable[[Tensor], float]]) -> list[float]:
    """Return the largest relative error of each way."""
    errors = [0.0] * len(ways)
    for gradient in gradients_of(size):
        exact = math.sqrt(sum(float(part.double().square().sum()) for part in gradient.split(1000)))
        errors = [
            max(e, abs(way(gradient) / exact - 1)) for e, way in zip(errors, ways, strict=True)
        ]
    return errors


def median_seconds(size: int, ways: list[Callable[[Tensor], float]]) -> list[float]:
    """Return each way's median time; all measure the same gradients, in turn."""
    copies = max(2, min(50, 20_000_000 // size))
    gradients = [torch.randn(size) for _ in range(copies)]
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(max(5, 300 // copies)):
        for way, times in zip(ways, seconds, strict=True):
            for gradient in gradients:
                before = time.perf_counter()
                way(gradient)
                times.append(time.perf_counter() - before)
    return [float(np.median(times)) for times in seconds]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--at-most", type=float, default=1e-6, metavar="ERROR")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, torch {torch.__version__}, the time in us")
    too_large = False
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(f"\n{threads} thread{'s' if threads > 1 else ''}")
        print(f"{'elements':>12}{'one product':>22}{'norms':>22}{'sum_of_squares':>22}")
        for size in arguments.sizes:
            ways = [product, by_gradients(size), by_squares]
            errors, seconds = worst_errors(size, ways), median_seconds(size, ways)
            cells = [f"{e:.1e} {s * 1e6:8,.0f} us" for e, s in zip(errors, seconds, strict=True)]
            print(f"{size:>12,}" + "".join(f"{cell:>22}" for cell in cells), flush=True)
            too_large |= size > LARGE and not max(errors[1:]) <= arguments.at_most
    sys.exit(too_large)


if __name__ == "__main__":
    main()
