"""What `GradientMonitor` costs, and each probe: the same training loop with and without them.

Both train equal models on the same data in one process, in alternating blocks (A B, then B A), so a
machine whose speed drifts slows both. The loop is what a careful engineer writes by hand: float
tensors in memory, batches by index, no clipping unless the case says so. The monitored side is that
loop plus the monitor's two lines, with all defaults. Both use one thread, and the process's CPU
time is measured, which other load on the machine disturbs less.

Where a model is in memory makes its training up to 6% faster or slower than that of an equal model,
for as long as it stays there. So each case is measured with `--placements` new pairs of models,
each at another place.

    python benchmarks/monitor.py [--placements 16] [--blocks 10] [--case NAME ...]
                                 [--at-most 1.05] [--repeats 5]

Prints the median ratio of the time per step, monitored / plain, with a 95% interval (bootstrap
over the placements). Exits with 1 if a case's median exceeds `--at-most`.

Then it prints, for two nets, a table of the costly probes (medians over `--repeats`): the
milliseconds and the forward-backward passes that each reports; the processor time of the whole
interruption when a run makes it (`monitor.probes`), including the copy of the model and the timing
of a pass; and, from that, how many times as long training would take with one probe per step, per
16 steps and per 256. Next to them are the figures that Cockpit's authors published for an MLP on
MNIST on their CPU (Schneider, Dangel and Hennig 2021, arXiv 2102.06604). Cockpit's quantities
differ from ours, so the probes closest to each of its configurations are added up.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import bootstrap
from torch import nn

from gradcli import GradientMonitor
from gradcli.config import compose_train
from gradcli.data import Dataset, load_dataset
from gradcli.models import CNN, MLP
from gradcli.probes.registry import selectable_probes
from gradcli.records import ProbeRecord
from gradcli.workflows.building import build_trainer
from gradcli.workflows.run_probes import RunProbes

BATCH = 128
STEPS = 20  # in a block
WARM = 110  # steps of each loop before it is timed; the monitor's first hundred cost more
IMAGES = {"input_shape": (1, 28, 28), "classes": 10, "activation": nn.ReLU}


@dataclass(frozen=True)
class Case:
    """A model, its optimizer, the norm that the loop clips to (None: it does not).

    `placements` are those of a net so slow that fewer have to do.
    """

    model: Callable[[], nn.Module]
    optimizer: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
    clip: float | None = None
    placements: int | None = None


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-3)


def fused_adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-3, fused=True)


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def mlp() -> nn.Module:
    return MLP(**IMAGES, hidden=[256, 128])


def deep(width: int) -> Callable[[], nn.Module]:
    return lambda: MLP(**IMAGES, hidden=[width] * 20)


CASES = {
    "mlp": Case(mlp, adam),
    "mlp fused": Case(mlp, fused_adam),
    "mlp momentum": Case(mlp, momentum),
    "mlp clipped": Case(mlp, adam, clip=1.0),
    "20 layers of 128": Case(deep(128), adam),
    "20 layers of 32": Case(deep(32), adam),
    "20 layers of 32 fused": Case(deep(32), fused_adam),
    "cnn": Case(lambda: CNN(**IMAGES), adam, placements=5),
}


#: The nets whose probes are tabled: their config, and the case that trains the like plainly.
PROBED = {
    "mlp": ([], "mlp fused"),
    "20 layers of 32": (["model=deep_mlp", "init=kaiming"], "20 layers of 32 fused"),
}
PROBED_AT = 100
INTERVALS = (1, 16, 256)
#: Cockpit's configurations: the probes that come nearest to what each computes, and how many
#: times as long as plain training it takes at those intervals. `noise` has its tests of norms and
#: inner products; what it asks of norms and update sizes takes no probe here.
COCKPIT = {
    "economy": (["alpha", "histograms", "noise"], ["63", "5.2", "1.28"]),
    "full": (["alpha", "histograms", "noise", "sharpness"], ["260", "-", "-"]),
}


def training(
    case: Case, model: nn.Module, images: torch.Tensor, labels: torch.Tensor, runs: str | None
) -> Iterator[None]:
    """Make one step at each `next`, monitored if there is a directory for the run."""
    optimizer = case.optimizer(model.parameters())
    watching = GradientMonitor(model, optimizer, runs_dir=runs) if runs else nullcontext()
    with watching as monitor:
        while True:
            permutation = torch.randperm(len(images))
            for i in range(0, len(images) - BATCH + 1, BATCH):
                indices = permutation[i : i + BATCH]
                loss = F.cross_entropy(model(images[indices]), labels[indices])
                optimizer.zero_grad()
                loss.backward()
                if monitor is not None:
                    monitor.step(loss)
                if case.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), case.clip)
                optimizer.step()
                yield


def seconds(steps: Iterator[None], count: int) -> float:
    """Return the CPU time of `count` steps."""
    began = time.process_time()
    for _ in range(count):
        next(steps)
    return time.process_time() - began


def ratio(case: Case, images, labels, blocks: int) -> tuple[float, float]:
    """Return monitored over plain time of two models made for it, and plain seconds per step."""
    model = case.model()
    with tempfile.TemporaryDirectory() as runs:
        plain = training(case, copy.deepcopy(model), images, labels, None)
        monitored = training(case, model, images, labels, runs)
        taken = {plain: 0.0, monitored: 0.0}
        for loop in taken:
            seconds(loop, WARM)
        for pair in range(blocks):
            for loop in sorted(taken, key=id, reverse=bool(pair % 2)):
                taken[loop] += seconds(loop, STEPS)
        monitored.close()
    return taken[monitored] / taken[plain], taken[plain] / (blocks * STEPS)


def ratios(case: Case, images, labels, placements: int, blocks: int) -> tuple[np.ndarray, float]:
    """Return the ratio of each pair of models, and the median of plain seconds per step."""
    torch.manual_seed(0)
    sizes = np.random.default_rng(0).integers(1, 300_000, size=placements)
    found, spacers = [], []
    for size in sizes.tolist():
        spacers.append(torch.empty(size))
        found.append(ratio(case, images, labels, blocks))
    each, plain = np.array(found).T
    return each, float(np.median(plain))


def plain_seconds(case: Case, images, labels, blocks: int) -> float:
    """Return the CPU time of a plain step."""
    torch.manual_seed(0)
    plain = training(case, case.model(), images, labels, None)
    seconds(plain, WARM)
    return float(np.median([seconds(plain, WARM) for _ in range(blocks)])) / WARM


def probe(name: str, overrides: list[str], dataset: Dataset) -> tuple[ProbeRecord, float]:
    """Make a probe in a run; return its record, and the CPU time that the run spent on it."""
    asked = [f"monitor.probes=[{name}]", f"monitor.probes_at=[{PROBED_AT}]", "epochs=10"]
    composed = compose_train([*overrides, *asked])
    trainer = build_trainer(composed, dataset)
    for _ in trainer.run(until=PROBED_AT):
        pass
    probes = RunProbes(
        trainer, composed.config, dataset, lambda: build_trainer(composed, dataset), made=()
    )
    began = time.process_time()
    [record] = probes.make(keep=lambda _: None, should_stop=lambda: False)
    return record, time.process_time() - began


def row(name: str, *cells: str) -> str:
    return f"{name:39}" + "".join(f"{cell:>11}" for cell in cells)


def multiples(whole: float, plain: float) -> list[str]:
    """Return training's time with a probe of `whole` seconds over that of plain training."""
    return [f"{1 + whole / (interval * plain):.3g}" for interval in INTERVALS]


def probe_table(
    overrides: list[str], plain: float, dataset: Dataset, repeats: int
) -> Iterator[str]:
    """Yield what the probes of a net cost, line by line; a plain step takes `plain` s."""
    yield row("", "", "", "ms in") + f"{'times plain training, one each':>33}"
    yield row("probe", "ms", "passes", "all", "step", "16 steps", "256 steps")
    spent = {}
    for name in selectable_probes():
        # The first one loads what it needs.
        made = [probe(name, overrides, dataset) for _ in range(repeats + 1)][1:]
        if refused := made[0][0].refused:
            yield f"{row(name, '-')}  {refused}"
            continue
        own, passes, spent[name] = np.median(
            [(record.seconds, record.passes, whole) for record, whole in made], axis=0
        )
        cells = f"{1e3 * own:.1f}", f"{passes:.1f}", f"{1e3 * spent[name]:.1f}"
        yield row(name, *cells, *multiples(spent[name], plain))
    for name, (nearest, published) in COCKPIT.items():
        whole = sum(spent[each] for each in nearest)
        yield row(" + ".join(nearest), "", "", f"{1e3 * whole:.1f}", *multiples(whole, plain))
        yield row(f"  Cockpit's {name}, published", "", "", "", *published)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--placements", type=int, default=16)
    parser.add_argument("--blocks", type=int, default=10, help="pairs of them for a placement")
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--at-most", type=float, default=1.05)
    parser.add_argument("--repeats", type=int, default=5, help="of each probe")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    dataset = load_dataset("mnist5k")
    images, labels = dataset.train.inputs.float() / 255, dataset.train.targets
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; ", end="")
    print(f"batch {BATCH}, {arguments.placements} placements, {arguments.blocks} pairs of blocks")
    worst = 0.0
    for name in arguments.case:
        case = CASES[name]
        placements = case.placements or arguments.placements
        found, bare = ratios(case, images, labels, placements, arguments.blocks)
        median = float(np.median(found))
        interval = bootstrap((found,), np.median, random_state=0).confidence_interval
        print(
            f"{name:22} {median:.3f} [{interval.low:.3f}, {interval.high:.3f}]  "
            f"plain {bare * 1e3:.2f} ms a step",
            flush=True,
        )
        worst = max(worst, median)
    for name, (overrides, case) in PROBED.items():
        plain = plain_seconds(CASES[case], images, labels, arguments.repeats)
        print(f"\n{name}, after {PROBED_AT} steps; a plain step takes {plain * 1e3:.2f} ms")
        for line in probe_table(overrides, plain, dataset, arguments.repeats):
            print(line, flush=True)
    return int(worst > arguments.at_most)


if __name__ == "__main__":
    sys.exit(main())
