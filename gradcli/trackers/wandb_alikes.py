"""wandb and trackio through one adapter: trackio has the interface of wandb.

They differ in how a run begins, and in what they keep of its end.
"""

from __future__ import annotations

import importlib
import io
import os
import shutil
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, ClassVar

from gradcli.extras.missing import not_installed
from gradcli.records import TrainSummary
from gradcli.trackers.parameters import codes_of, settings_of, tags_of
from gradcli.trackers.tracker import TrackedRun, Tracker

_PROJECT = "gradcli"
_OFFLINE = "offline"
#: The variables of the environment with which a user has trackio send runs elsewhere.
_SENDS_ELSEWHERE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


class WandbAlike(Tracker):
    """Writes runs with a library that has `init`, `Image` and runs with `log` and `finish`.

    Raises:
        UserError: if the library is not installed.
    """

    shares_folder = True
    library: ClassVar[str]

    def __init__(self) -> None:
        try:
            self._module = self._imported()
        except ImportError as error:
            raise not_installed(
                self.library, self.library, error, what=self.library, where="track"
            ) from error
        self._run: Any = None

    def _imported(self) -> ModuleType:
        return importlib.import_module(self.library)

    @abstractmethod
    def _begun(self, run: TrackedRun, folder: Path) -> Any:
        """Begin a run of the library in a folder, in place of an earlier one, and return it."""

    def _end(self, run: Any) -> None:
        """End a run of the library, which writes what is left."""
        run.finish()

    def begin(self, run: TrackedRun, folder: Path) -> None:
        """Begin a run with the config as its own."""
        with redirect_stdout(io.StringIO()):
            self._run = self._begun(run, folder)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log them at the step."""
        self._run.log(dict(values), step=step)

    def picture(self, name: str, step: int, png: bytes) -> None:
        """Log an image, which the library copies."""
        with TemporaryDirectory() as folder:
            file = Path(folder, f"{name}.png")
            file.write_bytes(png)
            self._run.log({name: self._module.Image(str(file))}, step=step)

    def close(self) -> None:
        """End the run of the library."""
        if self._run is not None:
            run, self._run = self._run, None
            with redirect_stdout(io.StringIO()):
                self._end(run)


class WandbTracker(WandbAlike):
    """Writes runs for Weights & Biases, offline unless `WANDB_MODE` says otherwise.

    The measurements of the machine that wandb would make on its own, the copy of the console and
    that of the code are off: gradcli has its own, and no thread takes time from the training.
    """

    library = "wandb"

    def __init__(self) -> None:
        # Before the import: offline, wandb would still report its own errors over the network.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        super().__init__()

    def _begun(self, run: TrackedRun, folder: Path) -> Any:
        for earlier in folder.glob(f"wandb/*run-*-{run.identity}"):
            shutil.rmtree(earlier)
        settings = self._module.Settings(
            console="off",
            disable_git=True,
            save_code=False,
            silent=True,
            symlink=False,
            x_disable_meta=True,
            x_disable_stats=True,
        )
        begun = self._module.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            id=run.identity,
            name=run.title,
            group=run.group or None,
            tags=tags_of(run),
            notes=run.note or None,
            config=settings_of(run),
            dir=str(folder),
            mode=os.environ.get("WANDB_MODE", _OFFLINE),
            resume="allow",
            reinit="create_new",  # the user's own code may have a run of its own
            settings=settings,
        )
        for path in folder.rglob("*"):  # gradcli continues no run whose directory holds links
            if path.is_symlink():
                path.unlink()
        return begun

    def finish(self, summary: TrainSummary, findings: str) -> None:
        """Keep the findings in the summary, and their codes as tags."""
        self._run.summary["status"] = summary.status
        self._run.summary["findings"] = findings
        self._run.tags = (*(self._run.tags or ()), *codes_of(summary))

    def commands(self, folder: Path) -> tuple[str, ...]:
        """Return how to upload the folder."""
        return (f"wandb sync {folder}/wandb/offline-run-*",)


class TrackioTracker(WandbAlike):
    """Writes runs into a database of trackio, on this machine unless its variables say otherwise.

    A process keeps one folder at a time: trackio reads it from `TRACKIO_DIR` when it is imported.
    """

    library = "trackio"

    def _imported(self) -> ModuleType:
        with _environment(_offline()):
            return super()._imported()

    def _begun(self, run: TrackedRun, folder: Path) -> Any:
        self._module = _trackio_in(folder)
        name = run.title if run.group else run.name
        storage = self._module.Api()
        if any(folder.glob("*.db")):
            for earlier in storage.runs(_PROJECT):
                if (earlier.config or {}).get("run") == run.full_name:
                    earlier.delete()
        return self._module.init(
            project=_PROJECT,
            name=name,
            group=run.group or None,
            config={"run": run.full_name, "tags": tags_of(run), **settings_of(run)},
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def _end(self, run: Any) -> None:
        self._module.finish()  # not the run's own method: trackio would end it again at exit

    def finish(self, summary: TrainSummary, findings: str) -> None:
        """Log the findings as a text at the last step."""
        text = f"{summary.status} after {summary.steps:,} steps\n\n{findings}"
        self._run.log({"findings": self._module.Markdown(text)}, step=summary.steps)

    def commands(self, folder: Path) -> tuple[str, ...]:
        """Return how to look at the folder."""
        return (f"TRACKIO_DIR={folder} trackio show --project {_PROJECT}",)


def _trackio_in(folder: Path) -> ModuleType:
    """Import trackio so that it keeps its database in a folder."""
    if (known := sys.modules.get("trackio")) is not None:
        if Path(known.TRACKIO_DIR) == folder:
            return known
        for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
            del sys.modules[name]
    with _environment({"TRACKIO_DIR": str(folder), **_offline()}):
        return importlib.import_module("trackio")


def _offline() -> dict[str, str]:
    """Return what keeps trackio from asking the hub of Hugging Face whose token it finds."""
    sends = any(name in os.environ for name in _SENDS_ELSEWHERE)
    return {} if sends else {"HF_HUB_OFFLINE": "1"}


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
