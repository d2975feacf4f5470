"""What the callbacks cost: trainings by Lightning and Transformers with them and without.

A case is a model of ordinary size and a trainer as its users set it up, with clipping. With and
without the callback, trainings of the same steps alternate (A B A B), each with a new model and a
new trainer, and the whole call of `trainer.fit` or `trainer.train()` counts: the run directory that
the callback makes, its summary and its findings, too. What counts is the CPU time of the process,
with one thread, so that other programs disturb little.

    python benchmarks/callbacks.py [--pairs 7] [--case NAME ...] [--at-most 1.05]

Prints the median of the pairs' ratios with a 95% interval (bootstrap over the pairs). Exits with 1
if a median exceeds the limit. A case whose library is not installed is skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import logging
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import bootstrap
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gradcli.data import load_dataset
from gradcli.data.downloads.torchvision_mnist import import_datasets

BATCH = 128
WORDS, LENGTH, SEQUENCES = 1000, 64, 8
Training = Callable[[str | None], None]


def mlp() -> nn.Module:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 256), nn.ReLU()),
        *(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def lightning_training(network: Callable[[], nn.Module], epochs: int) -> Training:
    """Return a fit over the bundled images, which keeps a run in a folder if it is given one."""
    import lightning

    from gradcli.lightning import GradientCallback

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = load_dataset("mnist5k").train
    images = data.inputs.float() / 255
    batches = DataLoader(TensorDataset(images, data.targets), BATCH, shuffle=True, drop_last=True)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch, _):
            loss = F.cross_entropy(self.network(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    def train(runs: str | None) -> None:
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            gradient_clip_val=1.0,
            callbacks=[GradientCallback(runs_dir=runs)] if runs else [],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Module(), batches)

    return train


def transformers_training(steps: int) -> Training:
    """Return a training of a small GPT-2, which keeps a run in a folder if it is given one."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    from gradcli.transformers import GradientCallback

    rows = torch.randint(WORDS, (steps * SEQUENCES, LENGTH))
    data = [{"input_ids": row, "labels": row} for row in rows]
    words = {"vocab_size": WORDS, "bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(n_positions=LENGTH, n_embd=128, n_layer=4, n_head=4, **words)
    config.loss_type = "ForCausalLM"

    def train(runs: str | None) -> None:
        arguments = TrainingArguments(
            tempfile.gettempdir(),
            max_steps=steps,
            per_device_train_batch_size=SEQUENCES,
            max_grad_norm=1.0,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        callbacks = [GradientCallback(runs_dir=runs)] if runs else []
        with contextlib.redirect_stdout(io.StringIO()):
            Trainer(
                GPT2LMHeadModel(config), arguments, train_dataset=data, callbacks=callbacks
            ).train()

    return train


#: The library of each case, and what makes its training.
CASES: dict[str, tuple[str, Callable[[], Training]]] = {
    "Lightning, mlp": ("lightning", lambda: lightning_training(mlp, 20)),
    "Lightning, cnn": ("lightning", lambda: lightning_training(cnn, 5)),
    "Transformers, GPT-2": ("transformers", lambda: transformers_training(150)),
}


def seconds(train: Training, runs: str | None) -> float:
    """Return the CPU time of a training."""
    torch.manual_seed(0)
    began = time.process_time()
    train(runs)
    return time.process_time() - began


def pairs_of_seconds(train: Training, pairs: int) -> np.ndarray:
    """Return the seconds without and with the callback, (pairs, 2), after a pair to warm up."""
    with tempfile.TemporaryDirectory() as runs:
        found: list[Any] = [(seconds(train, None), seconds(train, runs)) for _ in range(pairs + 1)]
    return np.array(found[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--at-most", type=float, default=1.05)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    import_datasets()  # makes torchvision importable next to any build of torch
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; ", end="")
    print(f"{arguments.pairs} pairs of trainings")
    worst = 0.0
    for name in arguments.case:
        library, make = CASES[name]
        if importlib.util.find_spec(library) is None:
            print(f"skipped: {library} is not installed; pip install 'gradcli[{library}]'")
            continue
        taken = pairs_of_seconds(make(), arguments.pairs)
        ratios = taken[:, 1] / taken[:, 0]
        interval = bootstrap((ratios,), np.median, random_state=0).confidence_interval
        print(
            f"{name:20} {np.median(ratios):.3f} [{interval.low:.3f}, {interval.high:.3f}]  "
            f"at most {arguments.at_most}; plain {np.median(taken[:, 0]):.1f} s",
            flush=True,
        )
        worst = max(worst, float(np.median(ratios)))
    return int(worst > arguments.at_most)


if __name__ == "__main__":
    sys.exit(main())
