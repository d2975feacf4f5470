"""What all tests share: one terminal, folders of their own, no network, and the command line."""

import json
import locale
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

# The environment is set when this file is imported, and not by a fixture: rich, typer and torch
# read parts of it when they are first imported, and test modules when they are collected.
# Workers of xdist and the processes that tests start inherit it.

# A test that needs another terminal than this one sets what it needs itself.
_TERMINAL = {
    "COLUMNS": "80",  # outranks the width of the terminal that the suite is run in
    "LINES": "25",
    "TERM": "xterm",
    "TZ": "UTC",
}
_UNSET = {
    *("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM"),
    *("PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH"),  # read by typer when it is imported
    *("TTY_COMPATIBLE", "TTY_INTERACTIVE", "UNICODE_VERSION"),  # read by rich
    *("PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE", "PYTHON_COLORS"),
    "LANGUAGE",
}
# The environment may say where all of MNIST is, which passes to test, and that a Slurm is there.
_LEFT_TO_THE_USER = {"GRADCLI_DATA", "GRADCLI_FAST", "GRADCLI_SLURM_NODE"}


def _colour_of_the_report() -> str:
    """Return what pytest's own `--color` would be, by the variables that are about to go."""
    if os.environ.get("PY_COLORS") in ("0", "1"):
        return "yes" if os.environ["PY_COLORS"] == "1" else "no"
    if os.environ.get("NO_COLOR"):
        return "no"
    if os.environ.get("FORCE_COLOR"):
        return "yes"
    return "no" if os.environ.get("TERM") == "dumb" else "auto"


def _speak_utf8() -> None:
    """Take a locale of UTF-8: it decides how files and pipes are read if nothing is said."""
    for name in ("C.UTF-8", "en_US.UTF-8", "UTF-8"):
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        os.environ["LC_ALL"] = name
        return
    os.environ.pop("LC_ALL", None)  # without such a locale: this process as it is, others in UTF-8
    os.environ["PYTHONUTF8"] = "1"


def _enter_known_environment() -> None:
    for name in list(os.environ):
        of_gradcli = name.startswith("GRADCLI_") and name not in _LEFT_TO_THE_USER
        if of_gradcli or name in _UNSET:
            del os.environ[name]
    os.environ.update(_TERMINAL)
    if hasattr(time, "tzset"):  # not on Windows
        time.tzset()
    _speak_utf8()
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is first imported


_COLOUR = _colour_of_the_report()
_enter_known_environment()

# Nothing listens there, so that a request fails at once instead of reaching the internet.
_NOWHERE = "http://127.0.0.1:9"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Colour pytest's own report as the terminal wants it, not as the tests do."""
    if config.option.color == "auto":
        config.option.color = _COLOUR


@pytest.fixture(scope="session", autouse=True)
def _apart_from_the_user(tmp_path_factory):
    """Keep tests from the user's folders and from the network; data is prepared once for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("GRADCLI_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.delenv("GRADCLI_DATA", raising=False)
        patch.setenv("http_proxy", _NOWHERE)
        patch.setenv("https_proxy", _NOWHERE)
        patch.setenv("no_proxy", "127.0.0.1")  # servers of the tests' own
        yield


@pytest.fixture(autouse=True)
def _seeded():
    """Let each test draw the same numbers whenever it runs, and whatever ran before it."""
    import torch  # reads the environment

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def runs_dir(tmp_path, monkeypatch):
    """A runs directory for one test, which the commands of the test use unless told otherwise."""
    monkeypatch.setenv("GRADCLI_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@dataclass(frozen=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """What stderr says, on one line: a sentence is matched however it was wrapped."""
        return " ".join(self.err.split())


@pytest.fixture
def gradcli(capsys, monkeypatch) -> Callable[..., Answer]:
    """Run `gradcli ARGUMENTS...` within this process."""
    from gradcli.__main__ import main

    def run(*words: str) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["gradcli", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run


@pytest.fixture
def on_terminal() -> Callable[..., tuple[int, bytes]]:
    """Run `gradcli ARGUMENTS...` on a terminal; return its exit code and all that it gets there."""

    pty = pytest.importorskip("pty", reason="pseudo-terminals are of POSIX")

    def run(*words: str, **environment: str) -> tuple[int, bytes]:
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "gradcli", *words],
            env={**os.environ, **environment},
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        said = b""
        try:
            while block := os.read(leader, 4096):
                said += block
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(leader)
        return process.wait(timeout=300), said

    return run


@pytest.fixture
def trials_in_this_process(monkeypatch) -> None:
    """Comparisons run their trials here, one after another: workers take seconds to start."""
    from gradcli.engines import SerialEngine

    class InThisProcess(SerialEngine):
        def __init__(self, jobs=None, gpus="one", affinity=False, memory_per_trial=None):
            super().__init__(raise_errors=False)

    monkeypatch.setattr("gradcli.engines.local.LocalEngine", InThisProcess)
    # The pictures would take as long again.
    monkeypatch.setattr("gradcli.views.draw.comparison_figures.plot_comparison", lambda *args: [])


@pytest.fixture(scope="session")
def spawn() -> Callable[..., Answer]:
    """Run `python ARGUMENTS...` as a new process; torch takes seconds to start in one."""

    def run(*words: str, cwd: object = None, **environment: str) -> Answer:
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            encoding="utf-8",
            cwd=cwd,
            env={**os.environ, **environment},
            timeout=300,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run


def _object_of_unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    twice = {key for key in keys if keys.count(key) > 1}
    assert not twice, f"JSON with a key twice: {twice}"
    return dict(pairs)


def _refuse_constant(word: str) -> float:
    raise AssertionError(f"JSON knows no {word}")


@pytest.fixture(scope="session")
def strict_json() -> Callable[[str | bytes], Any]:
    """Parse JSON as its standard has it: no NaN, no Infinity, no key twice, nothing after it."""

    def parse(text: str | bytes) -> Any:
        return json.loads(
            text, parse_constant=_refuse_constant, object_pairs_hook=_object_of_unique_keys
        )

    return parse
