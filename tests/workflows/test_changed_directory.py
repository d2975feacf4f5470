"""Code of the user's own that changes the working directory: the runs stay where they began."""

import sys
from pathlib import Path

import pytest

from gradcli.runs import find_comparison, load_run

SMALL = ("data=mnist5k", "max_steps=4", "batch_size=16", "device=cpu")

WANDERER = """
import os

from torch import nn

ELSEWHERE = {elsewhere!r}
{at_import}


class Wanderer(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.output = nn.Linear(784, classes)

    def forward(self, images):
        if self.training:
            os.chdir(ELSEWHERE)
        return self.output(images.flatten(1))
"""


@pytest.fixture(params=["", "os.chdir(ELSEWHERE)"], ids=["in training", "at import"])
def own(request, tmp_path, monkeypatch):
    """The options that allow a model that leaves the working directory, which is `tmp_path`."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "wanderer.py").write_text(
        WANDERER.format(elsewhere=str(tmp_path / "elsewhere"), at_import=request.param)
    )
    (tmp_path / "own" / "model" / "wanderer.yaml").write_text("_target_: wanderer.Wanderer\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")  # for the processes of trials
    monkeypatch.chdir(tmp_path)
    yield ["--runs-dir", "here", "--allow-import", "wanderer"]
    sys.modules.pop("wanderer", None)


def test_a_run_is_written_resumed_and_inspected_where_it_began(gradcli, own, tmp_path):
    words = ["model=wanderer", "--config-dir", "own", *own]
    answer = gradcli("train", *SMALL, "epochs=1", *words, "--no-live")
    assert answer.code == 0, answer.err
    (path,) = (tmp_path / "here").iterdir()
    assert f"here/{path.name}" in answer.out
    assert str(tmp_path / "here") not in answer.out  # it is named as it was typed
    assert load_run(path).state["config_dir"] == str(tmp_path / "own")
    assert (path / "checkpoints" / "last.pt").exists()
    sys.modules.pop("wanderer")
    looked_at = gradcli("inspect-gradients", "latest", "--probe", "histograms", "--plot", *own)
    assert looked_at.code == 0, looked_at.err
    assert list((path / "plots").glob("*histogram*"))
    assert not list((tmp_path / "elsewhere").iterdir())
    assert Path.cwd() == tmp_path


def test_an_extended_run_continues_where_it_began(gradcli, own, tmp_path):
    words = ["model=wanderer", "--config-dir", "own", *own]
    sizes = ["data=mnist5k", "batch_size=1000", "device=cpu", "epochs=1"]
    assert gradcli("train", *sizes, *words, "--no-live").code == 0
    sys.modules.pop("wanderer")
    answer = gradcli("train", "--resume", "latest", "epochs=2", *own, "--no-live")
    assert answer.code == 0, answer.err
    (path,) = (tmp_path / "here").iterdir()
    assert load_run(path).evals[-1].epoch == 2
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("engine", ["local", "serial"])
def test_a_comparison_is_written_where_it_began(gradcli, own, tmp_path, engine):
    words = ["model=wanderer", "--config-dir", "own", *own, f"engine={engine}"]
    asked = ["--optimizers", "sgd,adam", "--seeds", "1", "protocol.tune=false"]
    answer = gradcli("compare-optimizers", *SMALL, *words, *asked)
    assert answer.code == 0, answer.err
    comparison = find_comparison("latest", tmp_path / "here")
    assert f"here/{comparison.name}" in answer.out
    assert [run.status for run in comparison.trials()] == ["finished", "finished"]
    assert not list((tmp_path / "elsewhere").iterdir())
