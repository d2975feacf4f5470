"""The contract of a tracker: the one seam between gradcli and the programs that show runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from gradcli.records import RunInfo, TrainSummary


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """What a tracker is told of a run before its first number."""

    name: str
    """The name of the run's directory, which no other run of its group has."""
    group: str
    """The name of the comparison that it is a trial of; empty if it is of none."""
    info: RunInfo
    settings: Mapping[str, Any]
    """The resolved config by the keys of overrides, such as `optimizer.lr`."""
    tags: tuple[str, ...] = ()
    note: str = ""

    @property
    def full_name(self) -> str:
        """A name that no other run in the runs directory has."""
        return f"{self.group}/{self.name}" if self.group else self.name

    @property
    def title(self) -> str:
        """What a person calls it: a trial, whose name is a hash, by what it tries."""
        if not self.group:
            return self.name
        rate, seed = self.info.learning_rate, self.settings.get("seed")
        return f"{self.info.optimizer} lr={rate:g} seed={seed} {self.name[:6]}"

    @property
    def folder_name(self) -> str:
        """The title as the name of a folder."""
        return re.sub(r"[^\w.=+-]+", "-", self.title)

    @property
    def identity(self) -> str:
        """`full_name` in letters that every program takes: no slash."""
        return self.full_name.replace("/", "-")


class Tracker:
    """Writes a run in the form of a program that shows runs. Define `scalars`, and what you need.

    The calls of a run come in this order: `begin`; `scalars` for each step, with a `flush` now and
    then; `picture` and `finish`, if the run ended with a summary; `close` in every case. A run that
    is resumed begins anew and is told from its first step.

    Any method may raise: a training goes on without the tracker then, and says so; an export fails.
    The constructor is called before the run begins, and is the place to raise a `UserError` if
    a library is missing. The training waits for each call, so that work belongs in `flush`.
    """

    shares_folder: ClassVar[bool] = False
    """Whether several runs may be kept in one folder; else `begin` is given the run's own."""

    def begin(self, run: TrackedRun, folder: Path) -> None:
        """Learn what is about to come.

        Args:
            run: an earlier copy of the same run in the folder is to be replaced.
            folder: an existing one to write into, and nowhere else.
        """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take in numbers of a step, by name; `trackers.scalars` lists the names.

        Steps do not fall. A step comes again if it was evaluated, with other names.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no `scalars`")

    def flush(self) -> None:
        """Write down what was taken in: a training that is killed later must not lose it."""

    def picture(self, name: str, step: int, png: bytes) -> None:
        """Take in a picture of the run up to a step, as the content of a PNG file."""

    def finish(self, summary: TrainSummary, findings: str) -> None:
        """Take in how the run ended.

        Args:
            summary: all results; it has the findings one by one, too.
            findings: a list of these in Markdown.
        """

    def commands(self, folder: Path) -> tuple[str, ...]:
        """Return what to type to look at what a folder holds."""
        return ()

    def close(self) -> None:
        """Release what `begin` has opened. May be called without `begin`, and again."""
