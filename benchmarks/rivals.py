"""How fast gradcli trains next to what people use today, with every layer's gradient on record.

Each trains the MLP 784-256-128-10 with Adam on the same images, in batches of 128:

- gradcli: the trainer of `gradcli train` with its run directory. It records every parameter's norm
  before and after clipping at each step; clipping and layer probes are on.
- Lightning: a module as its users write it, with `grad_norm` logged at each step, clipping, and the
  `CSVLogger`, over a DataLoader of normalised images in memory.
- DataLoader: a plain loop over images that torchvision's `ToTensor` and `Normalize` prepare one by
  one, with `.item()` of each layer's gradient norm, one row of CSV per step, and no clipping.

None of them evaluates, saves checkpoints or shows anything, and set-up time does not count. Each
has its own process, as it would for its user, and they alternate blocks of steps (A B C A B C), so
a machine whose speed drifts slows all. Lightning owns its loop, so each of its blocks is a `fit`,
which a callback times from its first batch to its last. If MNIST is not available, the bundled
sample is repeated to its size.

    python benchmarks/rivals.py [--rounds 12] [--steps 200] [--threads N ...] [--workers 0]

Prints the median images per second of each, and the median over the rounds of how many times as
fast gradcli is, both with 95% intervals (bootstrap over the rounds). Exits with 1 if gradcli is
slower than it should be with PyTorch's default number of threads. With fewer threads, matrix
products take a larger share of everybody's time, and the times are for information. Lightning is
skipped if the extra `bench` is not installed.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import itertools
import logging
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.stats import bootstrap
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradcli.config import compose_train
from gradcli.data import Dataset, Split, load_dataset
from gradcli.data.downloads.torchvision_mnist import import_datasets
from gradcli.records import StepRecords
from gradcli.runs import RunWriter, create_run_directory
from gradcli.workflows.building import build_trainer, describe_run

#: How many times as fast as each rival gradcli is to be.
AT_LEAST = {"Lightning": 4.0, "DataLoader": 5.0}
MNIST_IMAGES = 50_000
BATCH = 128
LEARNING_RATE = 2e-3
MAX_NORM = 1.0


@dataclass(frozen=True)
class Settings:
    """How blocks are made."""

    steps: int
    """The least per block."""
    threads: int
    workers: int
    """Processes that prepare batches for a rival."""


def obtain_data() -> Dataset:
    """Return MNIST, or the bundled sample repeated until an epoch is as long."""
    folder = os.environ.get("GRADCLI_DATA")
    dataset = load_dataset("auto", data_dir=Path(folder) if folder else None)
    times = -(-MNIST_IMAGES // len(dataset.train))
    images, labels = dataset.train.inputs, dataset.train.targets
    train = Split(images.repeat(times, 1, 1, 1), labels.repeat(times))[:MNIST_IMAGES]
    return replace(dataset, train=train)


def network() -> nn.Sequential:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 256), nn.ReLU()),
        *(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def gradcli_blocks(dataset: Dataset, folder: Path, settings: Settings) -> Iterator[float]:
    """Yield the seconds per step, block after block."""
    # Whole batches only, like the rivals' own: a step has the same number of images for all.
    composed = compose_train(["epochs=100000", "data.drop_last=true"])
    trainer = build_trainer(composed, dataset)
    trainer.splits["val"].size = 0  # no evaluation
    directory = create_run_directory(folder, "rival")
    writer = RunWriter(directory, composed.yaml(), {})
    writer.begin(describe_run(composed, dataset, trainer, directory.name), {})
    records = trainer.run()
    while True:
        made, began = 0, time.perf_counter()
        while made < settings.steps:
            record = next(records)
            writer.write(record)
            made += len(record) if isinstance(record, StepRecords) else 0
        yield (time.perf_counter() - began) / made


def lightning_blocks(dataset: Dataset, folder: Path, settings: Settings) -> Iterator[float]:
    """Yield the seconds per step, block after block."""
    import_datasets()  # Lightning imports torchvision, too
    import lightning
    from lightning.pytorch.loggers import CSVLogger
    from lightning.pytorch.utilities import grad_norm

    # Each `fit` says which devices there are, and what might be faster on another machine.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch, _):
            images, labels = batch
            loss = F.cross_entropy(self.network(images), labels)
            self.log("loss", loss)
            return loss

        def on_before_optimizer_step(self, _) -> None:
            self.log_dict(grad_norm(self.network, norm_type=2))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)

    class Stopwatch(lightning.Callback):
        def on_train_start(self, *_) -> None:
            self.began = time.perf_counter()

        def on_train_end(self, *_) -> None:
            self.seconds = time.perf_counter() - self.began

    images = (dataset.train.inputs.float() / 255 - dataset.mean) / dataset.std
    loader = DataLoader(
        TensorDataset(images, dataset.train.targets),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=settings.workers,
    )
    module, stopwatch = Module(), Stopwatch()
    while True:
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_steps=settings.steps,
            gradient_clip_val=MAX_NORM,
            logger=CSVLogger(folder),
            log_every_n_steps=1,
            callbacks=[stopwatch],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)
        yield stopwatch.seconds / settings.steps


class Digits:
    """Hands out images one by one, through a transform, as torchvision's data sets do."""

    def __init__(self, images, labels, transform) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index):
        image = Image.fromarray(self.images[index].numpy())
        return self.transform(image), int(self.labels[index])


def data_loader_blocks(dataset: Dataset, folder: Path, settings: Settings) -> Iterator[float]:
    """Yield the seconds per step, block after block."""
    import_datasets()  # makes torchvision importable next to any build of torch
    from torchvision.transforms import Compose, Normalize, ToTensor

    transform = Compose([ToTensor(), Normalize((dataset.mean,), (dataset.std,))])
    loader = DataLoader(
        Digits(dataset.train.inputs[:, 0], dataset.train.targets, transform),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=settings.workers,
    )
    with (folder / "norms.csv").open("w", newline="") as file:
        steps = plain_steps(loader, csv.writer(file))
        while True:
            began = time.perf_counter()
            for _ in range(settings.steps):
                next(steps)
            yield (time.perf_counter() - began) / settings.steps


def plain_steps(loader: DataLoader, log) -> Iterator[None]:
    """Make one step at each `next`, and record its loss and norms."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    layers = [list(layer.parameters()) for layer in model if isinstance(layer, nn.Linear)]
    step = 0
    for _ in itertools.count():
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            norms = [nn.utils.get_total_norm(p.grad for p in layer).item() for layer in layers]
            optimizer.step()
            step += 1
            log.writerow([step, loss.item(), *norms])
            yield


BLOCKS = {
    "gradcli": gradcli_blocks,
    "Lightning": lightning_blocks,
    "DataLoader": data_loader_blocks,
}


def serve(name: str, settings: Settings, requests: Connection) -> None:
    """Run a block per request and answer with its seconds per step, until the pipe closes."""
    torch.set_num_threads(settings.threads)
    # This process was spawned; what a DataLoader starts is to start as it does elsewhere.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    with tempfile.TemporaryDirectory() as folder, suppress(EOFError):
        blocks = BLOCKS[name](obtain_data(), Path(folder), settings)
        while True:
            requests.recv()
            requests.send(next(blocks))


def images_a_second(names: Sequence[str], settings: Settings, rounds: int) -> dict[str, np.ndarray]:
    """Return the images per second of each, round by round, after one round to warm up."""
    spawning = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pipes = []
        for name in names:
            ours, theirs = spawning.Pipe()
            pipes.append(stack.enter_context(ours))
            with theirs:
                spawning.Process(target=serve, args=(name, settings, theirs)).start()

        def block(pipe: Connection) -> float:
            pipe.send("a block")
            return BATCH / pipe.recv()

        found = [[block(pipe) for pipe in pipes] for _ in range(rounds + 1)]
    return dict(zip(names, np.transpose(found[1:]), strict=True))


def describe(values: np.ndarray, digits: int) -> str:
    interval = bootstrap((values,), np.median, random_state=0).confidence_interval
    numbers = np.median(values), interval.low, interval.high
    median, low, high = (f"{number:,.{digits}f}" for number in numbers)
    return f"{median} [{low}, {high}]"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=200, help="in a block")
    usual_threads = torch.get_num_threads()
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, usual_threads}))
    parser.add_argument("--workers", type=int, default=0, help="of the rivals' DataLoaders")
    arguments = parser.parse_args()

    names = list(BLOCKS)
    if importlib.util.find_spec("lightning") is None:
        print("skipped: Lightning is not installed; pip install -c constraints.txt -e '.[bench]'")
        names.remove("Lightning")
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; ", end="")
    print(f"{obtain_data().info.name}, batch {BATCH}, ", end="")
    print(f"{arguments.rounds} rounds of {arguments.steps} steps")
    is_slower = False
    for threads in arguments.threads:
        settings = Settings(arguments.steps, threads, arguments.workers)
        rates = images_a_second(names, settings, arguments.rounds)
        for name, rate in rates.items():
            line = f"{name:11} {threads} thread{'s' if threads > 1 else ' '}  "
            line += f"{describe(rate, 0):>24} images/s"
            if name in AT_LEAST:
                times = rates["gradcli"] / rate
                line += f"  gradcli {describe(times, 2)} times"
                if threads == usual_threads:
                    line += f", at least {AT_LEAST[name]:g}"
                    is_slower |= bool(np.median(times) < AT_LEAST[name])
            print(line, flush=True)
    return int(is_slower)


if __name__ == "__main__":
    sys.exit(main())
