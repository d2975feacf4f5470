"""What the tests of the inspection share: runs and fresh models, made once for each config."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.system.paths import Paths
from gradcli.views.train.train_view import QuietView
from gradcli.workflows.inspect import inspect_target
from gradcli.workflows.train import run_trial

HERE = Path(__file__).parent
#: The option of the group `model` for each class in planted_models.py.
PLANTED = {
    "dead": "Dead",
    "mostly_dead": "MostlyDead",
    "nan_forward": "NanForward",
    "nan_backward": "NanBackward",
    "late_nan": "LateNan",
    "wrong": "Wrong",
    "frozen": "Frozen",
    "infinite_loss": "InfiniteLoss",
    "blind": "Blind",
}


@pytest.fixture(scope="session")
def paths(tmp_path_factory):
    """Folders for all runs of these tests, and the configs of the planted models."""
    home = tmp_path_factory.mktemp("planted")
    (home / "configs" / "model").mkdir(parents=True)
    for option, name in PLANTED.items():
        text = f"_target_: planted_models.{name}\n"
        (home / "configs" / "model" / f"{option}.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        torch.set_num_threads(1)
        yield Paths(home / "runs", None, home / "configs", ("planted_models",))


@pytest.fixture(scope="session")
def train(paths):
    """Train by overrides on the bundled digits, without pictures, and return the run's directory.

    The same arguments give the same run.
    """
    dataset = load_dataset("mnist5k")

    @cache
    def run(*words: str) -> Path:
        composed = compose_train(
            ["data=mnist5k", "threads=1", "epochs=9", "max_steps=96", "monitor.every=10", *words],
            config_dir=paths.config_dir,
            allow_import=paths.allow_import,
        )
        directory = paths.runs_dir / f"run{len(list(paths.runs_dir.glob('*')))}"
        run_trial(
            directory,
            composed.yaml(),
            lambda config: dataset,
            facts={"started": "2026-01-01T00:00:00+00:00", "seed": 0},
            allow_import=paths.allow_import,
        )
        return directory

    return run


@pytest.fixture(scope="session")
def inspect(paths):
    """Inspect a target, or a fresh model built by overrides."""

    def look(*words: str, target: object = None, vary: tuple[str, ...] = ()):
        own = () if target else ("data=mnist5k", "threads=1")
        return inspect_target(
            None if target is None else str(target), [*own, *words], vary, paths, QuietView()
        )

    return look
