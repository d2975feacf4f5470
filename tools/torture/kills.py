"""Runs killed at random instants and resumed: each must end as if nothing had happened to it.

A case draws an optimizer, a clip rule, a model, a schedule and probes, and trains once without a
disturbance. Then it trains again, and a signal arrives: after a random time, or at a random one of
the file operations in the run directory (opening, renaming, removing, truncating). What is left
must be readable. Then the run is resumed, and perhaps killed once more, until it has finished.
"""

from __future__ import annotations

import json
import random
import signal
from dataclasses import replace
from pathlib import Path

from children import draw_instant, in_child

from gradcli.runs import list_runs, load_checkpoint, load_run

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
OPTIMIZERS = (
    *("sgd", "momentum", "nesterov", "adam", "adamw", "nadam", "radam", "adamax"),
    *("rmsprop", "adagrad", "adadelta"),
)
CLIPS = ("none", "norm", "value", "per_layer", "agc", "autoclip", "zclip")
_MOST_KILLS = 3


def draw_overrides(drawn: random.Random) -> list[str]:
    """Draw a training of about a second."""
    model = drawn.choice(("mlp", "mlp", "logreg", "deep_mlp"))
    overrides = [
        "data=mnist5k",
        f"model={model}",
        "threads=1",
        f"seed={drawn.randrange(1000)}",
        f"optimizer={drawn.choice(OPTIMIZERS)}",
        f"clip={drawn.choice(CLIPS)}",
        f"schedule={drawn.choice(('constant', 'cosine', 'warmup_cosine', 'step', 'onecycle'))}",
        f"batch_size={drawn.choice((64, 100, 128))}",
        f"epochs={drawn.choice((3, 4, 5))}",
        f"monitor.every={drawn.choice((0, 5, 20))}",
        f"checkpoint.seconds={drawn.choice((0.05, 0.2, 30))}",
    ]
    if model == "mlp":
        overrides += ["model.hidden=[64,32]", f"model.dropout={drawn.choice((0.0, 0.2))}"]
        overrides.append(f"model.norm={drawn.choice(('none', 'batch', 'layer'))}")
    return overrides


class Disturbed:
    """One drawn training, in a folder of its own.

    Args:
        seed: of all that is drawn.
        folder: for its runs.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self._drawn = random.Random(seed)
        self.overrides = draw_overrides(self._drawn)
        self._quiet, self._loud = folder / "undisturbed", folder / "disturbed"
        self.kills: list[str] = []

    def run(self) -> None:
        """Train with and without disturbances.

        Raises:
            AssertionError: if anything differs, or cannot be read in between.
        """
        train = ["train", "--no-live", "--runs-dir"]
        whole = in_child([*train, str(self._quiet), *self.overrides], self._quiet)
        assert whole.code == 0, f"undisturbed: exit {whole.code}"
        command = [*train, str(self._loud), *self.overrides]
        for _ in range(self._drawn.randint(1, _MOST_KILLS)):
            number = self._drawn.choice(SIGNALS)
            instant = draw_instant(self._drawn, whole)
            code = in_child(command, self._loud, instant, number).code
            self.kills.append(f"{signal.Signals(number).name} {instant} (exit {code})")
            # By itself, with the shell's code for the signal, or by the signal, if that came before
            # the training had begun to listen.
            assert code in (0, 128 + number, -number), f"exit {code} after {self.kills[-1]}"
            runs = list_runs(self._loud)
            if not runs:
                continue
            self._check_readable()
            if runs[0].status == "finished":
                break
            command = [*train, str(self._loud), "--resume", str(runs[0].path)]
        else:
            code = in_child(command, self._loud).code
            assert code == 0, f"resumed: exit {code}"
        assert outcome(self._loud) == outcome(self._quiet), "the end differs"
        assert not left_behind(self._loud), f"left behind: {left_behind(self._loud)}"

    def _check_readable(self) -> None:
        for words in (
            ["runs", "list"],
            ["runs", "show", "latest"],
            ["inspect-gradients", "latest"],
        ):
            code = in_child([*words, "--runs-dir", str(self._loud)], self._loud).code
            # A run that was killed before its first step has nothing to inspect.
            assert code in (0, 2), f"{' '.join(words)}: exit {code}"
        rows = list_runs(self._loud)[0].steps.step.tolist()
        whole = list_runs(self._quiet)[0].steps.step.tolist()
        assert rows == whole[: len(rows)], "rows are missing, or there twice"


def outcome(folder: Path) -> dict[str, object]:
    """Return all that the only run of a folder leaves behind, less the times."""
    (run,) = list_runs(folder)
    state = load_checkpoint(run.path)
    return {
        "weights": {name: value.tolist() for name, value in state["model"].items()},
        "optimizer": repr(state["optimizer"]),
        "steps": (run.path / "steps.bin").read_bytes(),
        "probes": (run.path / "probes.jsonl").read_text(),
        "evals": [repr(replace(one, seconds=0, seconds_train=0)) for one in run.evals],
        "status": load_run(run.path).status,
        "findings": json.loads((run.path / "run.json").read_text())["result"]["findings"],
    }


def left_behind(folder: Path) -> list[str]:
    """Return the files of runs that a writer should have renamed or removed.

    The directory of a process that was killed before it was a run is swept an hour later.
    """
    runs = {path.parent for path in folder.rglob("run.json")}
    files = [path for path in folder.rglob(".*") if path.is_file()]
    return [str(path) for path in files if runs & set(path.parents)]
