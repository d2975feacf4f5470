"""Comparisons in which all trials of an arm diverged or failed: no winner is made of them."""

import json
import shlex

import pytest

from gradcli.runs import list_comparisons
from gradcli.runs.reader import load_run

TINY = ["data=mnist5k", "model.hidden=[4]", "max_steps=4", "clip=none", "--seeds", "2"]

pytestmark = pytest.mark.usefixtures("trials_in_this_process")


def lines_of(answer, *starts):
    return [line for line in (answer.err + answer.out).splitlines() if line.startswith(starts)]


def test_no_arm_wins_if_every_trial_diverged(gradcli, tmp_path):
    words = ["compare-optimizers", "--optimizers", "sgd,momentum", "--lrs", "1e30,1e31", *TINY]
    words += ["--runs-dir", str(tmp_path)]
    first = gradcli(*words, "--no-live")
    assert first.code == 4
    said = first.err + first.out
    assert "chosen\n" not in first.err
    assert "did best" not in said
    assert "gradcli train" not in said
    assert lines_of(first, "1 ", "best", "finished  ") == []
    assert lines_of(first, "failed  ")
    assert "sgd and momentum: each has no result: all 2 tuning trials diverged" in said

    again = gradcli(*words, "--json", "-q")
    found = json.loads(again.out)
    assert again.code == 4
    assert "nothing was run" not in again.out
    assert found["status"] == "failed"
    assert found["winner_command"] is None
    assert found["resume_command"] is None
    assert "--lrs 0.1,0.01,0.001" in found["retry_command"]
    assert [arm["rank"] for arm in found["ranking"]] == [None, None]
    assert not any(one["chosen"] for one in found["tuning"])
    assert {one["status"] for one in found["trials"]} == {"diverged"}
    assert [caution["code"] for caution in found["cautions"]] == ["no-result", "no-result"]

    shown = json.loads(gradcli("runs", "show", found["comparison"], "--json").out)
    assert (shown["status"], shown["ranking"]) == ("failed", found["ranking"])
    (kept,) = list_comparisons(tmp_path)
    assert kept.status == "failed"
    resumed = gradcli("compare-optimizers", "--resume", str(kept.path), "-q")
    assert resumed.code == 4
    assert len(list(kept.trials())) == 4


def test_an_arm_that_only_diverged_fails_the_comparison_but_not_the_others(gradcli, tmp_path):
    words = ["compare-optimizers", "--optimizers", "sgd", "--lrs", "0.1,0.2", *TINY]
    words += ["--vary", "optimizer.weight_decay=0,1e30", "--runs-dir", str(tmp_path)]
    answer = gradcli(*words, "--json", "--no-live")
    assert answer.out, answer.err
    found = json.loads(answer.out)
    assert answer.code == 3
    assert found["status"] == "failed"
    well, dead = found["ranking"]
    assert (well["rank"], well["places"]) == (1, [1, 1])
    assert (dead["rank"], dead["places"], dead["lr"]) == (None, None, "nan")
    assert dead["arm"].endswith("1e+30") or dead["arm"].endswith("1e30")
    assert f"{dead['arm']}: lr 0.1 chosen" not in answer.err
    assert "optimizer.weight_decay=0" in found["winner_command"]
    assert {one["status"] for one in found["trials"] if one["arm"] == dead["arm"]} == {"diverged"}


FAILS = """
import torch

class Fails(torch.optim.SGD):
    made = 0

    def step(self, closure=None):
        self.made += 1
        if self.made == 3:
            raise RuntimeError("broken")
"""


def test_no_arm_wins_if_every_trial_failed(gradcli, tmp_path, monkeypatch):
    (tmp_path / "failing.py").write_text(FAILS)
    folder = tmp_path / "configs" / "optimizer"
    folder.mkdir(parents=True)
    (folder / "fails.yaml").write_text("_target_: failing.Fails\nlr: 0.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    words = ["compare-optimizers", "--optimizers", "fails", "--lrs", "0.1,0.2", *TINY]
    words += ["--runs-dir", str(tmp_path / "runs"), "--allow-import", "failing"]
    words += ["--config-dir", str(tmp_path / "configs"), "--vary", "batch_size=64,128"]
    answer = gradcli(*words, "--json", "-q")
    assert answer.out, answer.err
    found = json.loads(answer.out)
    assert answer.code == 3
    assert (found["status"], found["failed"]) == ("failed", 4)
    assert (found["winner_command"], found["retry_command"]) == (None, None)
    assert "--resume" in found["resume_command"]
    assert [arm["rank"] for arm in found["ranking"]] == [None, None]
    shown = gradcli("runs", "show", found["comparison"])
    assert lines_of(shown, "best", "1 ") == []
    assert "all 2 tuning trials failed" in shown.out
    assert all(load_run(one["run"]).status == "failed" for one in found["trials"])


def test_a_best_rate_at_an_end_comes_with_the_command_that_extends_the_grid(gradcli, tmp_path):
    """Of two rates that are both too low, the higher one is better, and no answer."""
    words = ["data=mnist5k", "model.hidden=[8]", "max_steps=30", "--seeds", "2"]
    words = ["compare-optimizers", "--optimizers", "adam,sgd", "--lrs", "1e-5,1e-4", *words]
    words += ["--runs-dir", str(tmp_path)]
    answer = gradcli(*words, "--no-live")
    assert "adam: lr 0.0001 chosen, at the end of the rates tried" in answer.err
    (line,) = lines_of(answer, "so far")
    assert "at the end of the rates tried (lr 0.0001)" in line
    assert lines_of(answer, "best") == []
    found = json.loads(gradcli(*words, "--json", "-q").out)
    assert found["winner_at_edge"]
    again = shlex.split(found["extend_command"])
    assert lines_of(answer, "extend") == [f"extend      {found['extend_command']}"]
    assert again[again.index("--lrs") + 1] == "1e-05,0.0001,0.001,0.01,0.1"
    wider = json.loads(gradcli(*again[1:], "--json", "-q").out)
    assert wider["comparison"] != found["comparison"]
    assert {one["lr"] for one in wider["tuning"]} == {1e-5, 1e-4, 0.001, 0.01, 0.1}
    best = wider["ranking"][0]
    assert best["lr"] > 1e-4
    assert wider["winner_at_edge"] == best["lr_at_edge"] == (wider["extend_command"] is not None)
