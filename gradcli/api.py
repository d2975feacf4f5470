"""The Python side of the commands: what a command does, one call does."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path

from gradcli.errors import UserError, nearest
from gradcli.experiment import Places, resume_run, start_run
from gradcli.runs import Run, load_run
from gradcli.shorthands import SHORTHANDS
from gradcli.views.train_view import QuietView, TrainView


def train(
    *overrides: str,
    resume: str | Path | None = None,
    runs_dir: str | Path = "runs",
    data_dir: str | Path | None = None,
    config_dir: str | Path | None = None,
    allow_import: Sequence[str] = (),
    view: TrainView | None = None,
    **options: object,
) -> Run:
    """Train a network as `gradcli train` does, and return the run.

    `train("model=cnn", optimizer="sgd", lr=0.1, epochs=2)` is
    `gradcli train --optimizer sgd --lr 0.1 --epochs 2 model=cnn`. The global random state, the
    number of threads and a surrounding Hydra application are left as they were.

    Args:
        overrides: Hydra overrides, `KEY=VALUE`.
        resume: a run to go on with, instead of beginning one.
        runs_dir: where runs are kept.
        data_dir: where data sets lie; None is the platform's cache folder.
        config_dir: a folder of config files that add to the groups.
        allow_import: packages that `_target_` may name besides torch's and gradcli's.
        view: is shown everything as it happens; None shows nothing.
        options: the command's shorthand options: data, model, activation, optimizer, lr, clip,
            epochs, batch_size, seed, device, name.

    Returns:
        The run. Its `status` is `finished`, `diverged` or `interrupted` (by SIGTERM).

    Raises:
        UserError: for anything wrong with the config, the data or the places.
        KeyboardInterrupt: for Ctrl-C, once the run is saved.
    """
    for name in options:
        if name not in SHORTHANDS:
            raise UserError(
                f"train() takes no '{name}'.",
                choices=nearest(name, SHORTHANDS),
                hint=f'an override, such as train("{name}=VALUE")',
            )
    words = [f"{SHORTHANDS[name]}={value}" for name, value in options.items()]
    words += overrides
    places = Places(
        Path(runs_dir),
        None if data_dir is None else Path(data_dir),
        None if config_dir is None else Path(config_dir),
        tuple(allow_import),
    )
    view, started = view or QuietView(), time.time()
    if resume is None:
        summary = start_run(words, places, view, started=started)
    else:
        summary = resume_run(str(resume), words, places, view, started=started)
    run = load_run(summary.path)
    if run.state.get("signal") == signal.SIGINT:
        raise KeyboardInterrupt
    return run
