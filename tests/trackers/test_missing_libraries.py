"""A tracker whose library is not installed: one panel, before anything is trained."""

import sys

import pytest

import gradcli as package

LIBRARIES = {
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "trackio": "trackio",
    "mlflow": "mlflow",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one step; for reading only."""
    words = ("data=mnist5k", "model.hidden=[4]", "max_steps=1")
    return package.train(*words, runs_dir=tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_training_says_how_to_install_it_before_it_begins(name, gradcli, runs_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, LIBRARIES[name], None)
    answer = gradcli("train", "data=mnist5k", f"track=[{name}]", "max_steps=1")
    assert answer.code == 2
    assert f"pip install 'gradcli[{name}]'" in answer.err
    assert not runs_dir.exists() or not list(runs_dir.iterdir())


@pytest.mark.parametrize("name", ["tensorboard", "parquet"])
def test_an_export_says_so_too(name, gradcli, run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, {"parquet": "pyarrow"}.get(name, "tensorboardX"), None)
    output = tmp_path / "out"
    answer = gradcli("runs", "export", str(run.path), "--format", name, "-o", str(output))
    assert answer.code == 2
    assert f"pip install 'gradcli[{'tables' if name == 'parquet' else name}]'" in answer.err
    assert not output.exists()


def test_a_comparison_says_so_once_and_not_for_each_trial(
    gradcli, runs_dir, trials_in_this_process, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    words = ["data=mnist5k", "max_steps=1", "protocol.tune=false", "track=[tensorboard]"]
    answer = gradcli("compare-optimizers", *words, "--optimizers", "sgd,adam", "--quiet")
    assert answer.code == 2
    assert answer.err.count("pip install 'gradcli[tensorboard]'") == 1
    assert not runs_dir.exists() or not list(runs_dir.iterdir())


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", "track=tensorboard"], "track=[tensorboard]"),
        (["train", "track=[tensorbord]"], "track=[tensorboard]"),
        (["train", "tracker=wandb"], "track=[wandb]"),
        (["runs", "export", "RUN", "--format", "tensorbord", "-o", "x"], "--format tensorboard"),
        (["runs", "export", "RUN", "--format", "tensorboard"], "-o tensorboard"),
        (["runs", "export", "RUN", "--format", "tensorboard", "-o", "RUNS"], "-o tensorboard"),
    ],
    ids=["no list", "misspelt", "singular", "no format", "no folder", "the run itself"],
)
def test_a_mistake_is_answered_with_what_to_type(words, hint, gradcli, run, monkeypatch):
    runs_dir = run.path.parent
    monkeypatch.setenv("GRADCLI_RUNS", str(runs_dir))
    if "RUNS" in words:
        pytest.importorskip("tensorboardX")
    named = {"RUN": run.name, "RUNS": str(runs_dir)}
    before = sorted(runs_dir.rglob("*"))
    answer = gradcli(*[named.get(word, word) for word in words])
    assert answer.code == 2
    assert hint in answer.err
    assert sorted(runs_dir.rglob("*")) == before
