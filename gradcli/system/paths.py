"""The folders that a command works with, as its options or the environment give them.

The user's own code may change the working directory, on import or later. The paths of a command
are relative to the directory that it was started in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

_DEFAULT_RUNS = Path("runs")
_ALLOW_IMPORT = "--allow-import"
_PROBLEM = "problem="


@dataclass(frozen=True)
class Paths:
    """The folders of runs, data and the user's own configs, and the packages configs may use."""

    runs_dir: Path = _DEFAULT_RUNS
    data_dir: Path | None = None
    config_dir: Path | None = None
    allow_import: Sequence[str] = ()
    started_in: Path = field(default_factory=Path.cwd, compare=False)
    """The working directory when the command began."""

    def trusting(self, files: Sequence[str]) -> Paths:
        """Allow files to run as well."""
        return replace(self, allow_import=_once([*self.allow_import, *files]))

    def absolute(self, path: Path) -> Path:
        """Return a path that the command was given, wherever the process is now."""
        return self.started_in / path

    def made_absolute(self) -> Paths:
        """Return the same folders for a process that may begin elsewhere."""
        return replace(
            self,
            runs_dir=self.absolute(self.runs_dir),
            data_dir=self.data_dir and self.absolute(self.data_dir),
            config_dir=self.config_dir and self.absolute(self.config_dir),
        )

    def completed_by(self, recorded: Paths) -> Paths:
        """Fill in what built a run and was not given again: the next command needs it, too."""
        return replace(
            self,
            data_dir=self.data_dir or recorded.data_dir,
            config_dir=self.config_dir or recorded.config_dir,
            allow_import=_once([*self.allow_import, *recorded.allow_import]),
        )

    def arguments(self, *, runs: bool = True, beside: Sequence[str] = ()) -> list[str]:
        """Return the options that give these paths again, for a command to paste.

        What the environment already says is left out.

        Args:
            runs: whether `--runs-dir` is among them; a command that names a run's directory does
                not need it.
            beside: the overrides that follow (`options_beside`).
        """
        arguments = []
        if runs and self.runs_dir != Path(os.environ.get("GRADCLI_RUNS") or _DEFAULT_RUNS):
            arguments += ["--runs-dir", str(self.runs_dir)]
        if self.data_dir is not None and str(self.data_dir) != os.environ.get("GRADCLI_DATA"):
            arguments += ["--data-dir", str(self.data_dir)]
        if self.config_dir is not None:
            arguments += ["--config-dir", str(self.config_dir)]
        for package in self.allow_import:
            arguments += [_ALLOW_IMPORT, package]
        return options_beside(arguments, beside)


def _once(allowed: Sequence[str]) -> tuple[str, ...]:
    """Return packages and files without repetitions; of two spellings of a file, the first."""
    kept: dict[str, str] = {}
    for one in allowed:
        kept.setdefault(os.path.realpath(one) if one.endswith(".py") else one, one)
    return tuple(kept.values())


def options_beside(options: Sequence[str], words: Sequence[str]) -> list[str]:
    """Return options of a command without what its words say as well.

    `problem=FILE:NAME` lets FILE run, so that `--allow-import FILE` beside it says nothing more.

    Args:
        options: as `Paths.arguments` returns them.
        words: the overrides of the same command.
    """
    named = [word.removeprefix(_PROBLEM) for word in words if word.startswith(_PROBLEM)]
    allowed = {Path(name.rpartition(":")[0] or name).absolute() for name in named}
    kept: list[str] = []
    for option in options:
        if kept[-1:] == [_ALLOW_IMPORT] and Path(option).absolute() in allowed:
            kept.pop()
        else:
            kept.append(option)
    return kept


@contextmanager
def returning_to(folder: Path) -> Iterator[None]:
    """Change to `folder` at the end of the block, even after an exception, if it still exists."""
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.chdir(folder)
