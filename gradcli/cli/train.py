"""`gradcli train`: train a network, and record every layer's gradient norm at each step."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gradcli.cli.options import (
    AllowImport,
    ConfigDir,
    DataDir,
    Json,
    NoLive,
    Quiet,
    RunsDir,
    as_overrides,
    shorthand,
)

EPILOG = (
    "An override sets any key of the config: gradcli train model=cnn optimizer.lr=0.01. "
    "--show-config prints all keys, and the file that each comes from."
)
EXIT_CODES = {"finished": 0, "diverged": 4}


def train(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[OVERRIDE]...", help="KEY=VALUE", show_default=False),
    ] = None,
    data: Annotated[str | None, shorthand("data", "-d")] = None,
    model: Annotated[str | None, shorthand("model", "-m")] = None,
    activation: Annotated[str | None, shorthand("activation", "-a")] = None,
    optimizer: Annotated[str | None, shorthand("optimizer", "-o")] = None,
    lr: Annotated[str | None, shorthand("lr")] = None,
    clip: Annotated[str | None, shorthand("clip")] = None,
    epochs: Annotated[str | None, shorthand("epochs", "-e")] = None,
    batch_size: Annotated[str | None, shorthand("batch_size", "-b")] = None,
    seed: Annotated[str | None, shorthand("seed", "-s")] = None,
    device: Annotated[str | None, shorthand("device")] = None,
    name: Annotated[str | None, shorthand("name")] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Go on with a run: its directory, name or `latest`."),
    ] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the resolved config and stop.")
    ] = False,
    runs_dir: RunsDir = Path("runs"),
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
    allow_import: AllowImport = None,
    as_json: Json = False,
    quiet: Quiet = False,
    no_live: NoLive = False,
) -> None:
    """Train a network and see the gradient of every layer, before and after clipping."""
    given = as_overrides(
        data=data,
        model=model,
        activation=activation,
        optimizer=optimizer,
        lr=lr,
        clip=clip,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        device=device,
        name=name,
    )
    words = [*given, *(overrides or [])]
    if show_config:
        from gradcli.config import annotated_yaml, compose_train

        composed = compose_train(words, config_dir=config_dir, allow_import=allow_import or ())
        sys.stdout.write(annotated_yaml(composed))
        return

    from gradcli.experiment import resume_run, start_run
    from gradcli.places import Places
    from gradcli.runs import load_run
    from gradcli.runs.provenance import process_started
    from gradcli.views.console import show_result, train_view
    from gradcli.views.ending import ending, next_commands
    from gradcli.views.jsonout import dumps, train_json
    from gradcli.views.live import LiveView

    places = Places(runs_dir, data_dir, config_dir, tuple(allow_import or ()))
    view = train_view(live=not no_live, quiet=quiet)
    started = process_started()
    if resume is None:
        summary = start_run(words, places, view, started=started)
    else:
        summary = resume_run(resume, words, places, view, started=started)
    if as_json:
        sys.stdout.write(dumps(train_json(summary)) + "\n")
    else:
        show_result(
            ending(summary, next_commands(summary, words), layers=not isinstance(view, LiveView))
        )
    if summary.status == "interrupted":
        raise typer.Exit(128 + load_run(summary.path).state["signal"])
    raise typer.Exit(EXIT_CODES[summary.status])
