"""What all tests share: folders of their own, no network, few threads, and the command line."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

# Read by torch when it is first imported, here and in the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

# Nothing listens there, so that a request fails at once instead of reaching the internet.
_NOWHERE = "http://127.0.0.1:9"


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


@pytest.fixture
def gradcli(capsys, monkeypatch) -> Callable[..., Answer]:
    """Run `gradcli WORDS...` within this process."""
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
def trials_in_this_process(monkeypatch) -> None:
    """Comparisons run their trials here, one after another: workers take seconds to start."""
    from gradcli.engines import SerialEngine

    class InThisProcess(SerialEngine):
        def __init__(self, jobs=None):
            super().__init__(raise_errors=False)

    monkeypatch.setattr("gradcli.engines.local.LocalEngine", InThisProcess)
    # The pictures would take as long again.
    monkeypatch.setattr("gradcli.views.draw.comparison_figures.plot_comparison", lambda *args: [])


@pytest.fixture(scope="session")
def spawn() -> Callable[..., Answer]:
    """Run `python WORDS...` as a process of its own; torch takes seconds to start in one."""

    def run(*words: str, cwd: object = None, **environment: str) -> Answer:
        done = subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**os.environ, **environment},
            timeout=300,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    return run
