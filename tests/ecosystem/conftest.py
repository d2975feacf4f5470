"""Tests with the real thing: a browser, a shell, a tracker, somebody else's training loop.

`make test-ecosystem` installs what they need and runs them; `make test` does not.
"""

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
