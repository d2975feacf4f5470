"""A comparison from the command line: what it prints, and with which code it ends."""

import json

import pytest

from gradcli.data.downloads.download import DownloadError, DownloadProgress

SMALL = ("data=mnist5k", "model.hidden=[8]", "max_steps=2", "protocol.tune=false", "--seeds", "1")

KILLED = """
import os, signal, torch

class Killed(torch.optim.SGD):
    def step(self, closure=None):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The options that offer `killed`, whose process is killed at its first step."""
    (tmp_path / "killing_optimizer.py").write_text(KILLED)
    (tmp_path / "configs" / "optimizer").mkdir(parents=True)
    path = tmp_path / "configs" / "optimizer" / "killed.yaml"
    path.write_text("_target_: killing_optimizer.Killed\nlr: 0.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return ("--config-dir", str(tmp_path / "configs"), "--allow-import", "killing_optimizer")


def test_a_trial_whose_worker_is_killed_each_time_has_failed_and_the_exit_code_says_so(
    own, gradcli, runs_dir, monkeypatch
):
    monkeypatch.setattr("gradcli.views.draw.comparison_figures.plot_comparison", lambda *args: [])
    words = ("compare-optimizers", "--optimizers", "killed,sgd", "-j", "1", *SMALL, *own)
    answer = gradcli(*words)
    assert answer.code == 3
    (directory,) = runs_dir.iterdir()

    again = "retrying killed, lr 0.1, seed 0: its worker was killed by SIGKILL"
    failed = "failed: killed, lr 0.1, seed 0, measuring: its worker was killed by SIGKILL"
    assert [answer.err.count(text) for text in (again, failed)] == [4, 1]
    assert answer.out.startswith(f"failed  {directory.name}")
    assert failed in " ".join(answer.out.split())
    assert "1 failed, 1 finished" in answer.out
    assert f"gradcli compare-optimizers {' '.join(own)} --resume {directory}" in answer.out

    shown = gradcli("runs", "show", directory.name, "--json")
    result = json.loads(shown.out)
    assert (result["status"], result["failed"]) == ("failed", 1)
    status = {trial["arm"]: trial["status"] for trial in result["trials"]}
    assert status == {"killed": "failed", "sgd": "finished"}
    missing = {arm["arm"]: arm["missing"] for arm in result["ranking"]}
    assert missing == {"sgd": 0, "killed": 1}


def test_a_comparison_whose_trials_all_end_is_not_a_failure(
    trials_in_this_process, gradcli, runs_dir
):
    words = ("compare-optimizers", "--optimizers", "sgd,adam", *SMALL)
    answer = gradcli(*words, "--json", "--quiet")
    assert (answer.code, answer.err) == (0, "")
    result = json.loads(answer.out)
    assert (result["status"], result["failed"], len(result["trials"])) == ("finished", 0, 2)


def test_all_pairs_are_shown_if_wanted(trials_in_this_process, gradcli, runs_dir):
    words = ("compare-optimizers", "--optimizers", "sgd,sgd,sgd,adam", *SMALL)
    grouped = gradcli(*words, "--quiet").out
    assert "cannot be told apart" in grouped
    assert "sgd and sgd#2 have no verdict: 0.0000 apart" not in grouped
    (command,) = [line.strip() for line in grouped.splitlines() if "--all-pairs" in line]
    for every in (gradcli(*words, "--quiet", "--all-pairs"), gradcli(*command.split()[1:])):
        assert every.code == 0
        assert "sgd and sgd#2 have no verdict: 0.0000 apart" in every.out
        assert sum("have no verdict" in line for line in every.out.splitlines()) == 6
    result = json.loads(gradcli(*words, "--quiet", "--json").out)
    assert len(result["pairs"]) == 6
    assert result["groups"] == [[arm["arm"] for arm in result["ranking"]]]


def test_one_optimizer_is_answered_with_several(gradcli, runs_dir):
    answer = gradcli("compare-optimizers", "optimizer=adam")
    assert answer.code == 2
    assert "--optimizers sgd,adam" in " ".join(answer.err.split())


def test_a_download_is_shown(trials_in_this_process, gradcli, runs_dir, tmp_path, monkeypatch):
    def download(name, folder, *, mirrors, progress):
        progress(DownloadProgress("images.gz", "http://mirror/", 1_000_000, 9_900_000))
        raise DownloadError("HTTP status 503")

    monkeypatch.setattr("gradcli.data.sources.download", download)
    words = ("compare-optimizers", "data=fashion_mnist", "--data-dir", str(tmp_path))
    answer = gradcli(*words)
    assert answer.code == 2
    assert answer.err.splitlines()[0] == "downloading images.gz (9.9 MB)"
    assert "HTTP status 503" in " ".join(answer.err.split())
    assert not runs_dir.exists()
