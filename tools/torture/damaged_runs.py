"""Runs with one damaged file: every command must answer in words, and none may make it worse."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from children import in_child
from damage import EXIT_CODES, Case, cases, commands

from gradcli.runs import load_run

_SMALL = (
    *("data=mnist5k", "model.hidden=[16,8]", "monitor.every=5", "monitor.probes=[noise]"),
    *("threads=1", "schedule=constant", "batch_size=500"),
)


class DamagedRun:
    """Two finished runs in a folder, one of which is damaged.

    Args:
        seed: of all that is drawn.
        folder: for the runs.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self._seed, self._drawn = seed, random.Random(seed)
        self._whole, self._damaged = folder / "whole", folder / "damaged"

    def run(self, damages: int) -> int:
        """Damage the run in so many ways, one at a time; return how many commands read it.

        Raises:
            AssertionError: if one crashes, hides the other run, or changes what it refuses.
        """
        for name in ("one", "other"):
            options = ("--quiet", "--runs-dir", str(self._whole), "epochs=2", f"name={name}")
            ended = in_child(["train", *options, *_SMALL], self._whole)
            assert ended.code == 0, f"undisturbed: exit {ended.code}: {ended.errors[-300:]}"
        (run,) = self._whole.glob("*-one-*")
        drawn = self._drawn.sample(list(cases(run, range(self._seed, self._seed + 1))), damages)
        return sum(self._read(case) for case in drawn)

    def _read(self, case: Case) -> int:
        shutil.rmtree(self._damaged, ignore_errors=True)
        shutil.copytree(self._whole, self._damaged)
        (run,), (other,) = (self._damaged.glob(f"*-{name}-*") for name in ("one", "other"))
        case.apply(run)
        before = contents(run)
        lines = commands(run, other, epochs=3)
        for words in lines:
            options = ["--runs-dir", str(self._damaged)]
            ended = in_child([*words, *options], self._damaged)
            said = f"{case}: {' '.join(words)}: exit {ended.code}"
            assert ended.code in EXIT_CODES, f"{said}: {ended.errors[-300:]}"
            assert "Traceback" not in ended.errors, said
            if words[0] == "runs" or ended.code == 2:
                assert contents(run) == before, f"{said}, and changed the run"
            if words == ("runs", "list"):
                assert "other" in ended.output, f"{said}, and hides the other run"
        if ended.code != 2:  # the last command trained it further
            again = load_run(run)
            assert (again.status, again.damage) == ("finished", ()), f"{case}: {again.damage}"
            assert again.steps.step.tolist() == list(range(1, 25)), f"{case}: steps are missing"
        return len(lines)


def contents(directory: Path) -> dict[Path, bytes | None]:
    """Return every path below a directory, with the bytes of the files."""
    return {
        path.relative_to(directory): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }
