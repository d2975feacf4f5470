"""Tests with the real thing: a browser, a shell, a tracker, somebody else's training loop.

`make test-ecosystem` installs what they need and runs them; `make test` does not.
"""

import subprocess
import sys

import pytest

import gradcli as package


@pytest.fixture(scope="session")
def runs_dir_with_runs(tmp_path_factory):
    """Hold a finished run named `one` and a comparison named `arms`; for reading only."""
    home = tmp_path_factory.mktemp("ecosystem")
    small = ("data=mnist5k", "model.hidden=[16,8]", "monitor.every=5", "batch_size=200")
    package.train(*small, "epochs=2", "name=one", runs_dir=home)
    words = (*small, "epochs=1", "protocol.tune=false", "name=arms")
    package.compare(*words, optimizers=["sgd", "adam"], seeds=2, jobs=1, runs_dir=home)
    return home


@pytest.fixture(scope="session")
def gradcli_once():
    """Return a function that runs the command line on a runs directory, its last argument."""

    def run(*words):
        *command, runs_dir = words
        line = [sys.executable, "-m", "gradcli", *command, "--runs-dir", str(runs_dir)]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout

    return run
