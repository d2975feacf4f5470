"""Small runs, and comparisons of sets of them."""

import pytest

import gradcli as package

SMALL = ("data=mnist5k", "model.hidden=[4]", "max_steps=10", "threads=1")


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train a small network, with any override and label."""
    monkeypatch.setenv("GRADCLI_RUNS", str(tmp_path / "runs"))

    def run(name, *overrides, **labels):
        return package.train(
            *SMALL, *overrides, f"name={name}", runs_dir=tmp_path / "runs", **labels
        )

    return run


@pytest.fixture
def compare(tmp_path):
    """Compare sets of the runs."""

    def run(*sets, **options):
        return package.compare_runs(*sets, runs_dir=tmp_path / "runs", **options)

    return run
