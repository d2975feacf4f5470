"""Comparisons that search several keys, on real digits: the same however they are run."""

import json
import math
import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import gradcli
from gradcli.runs import ComparisonDirectory
from gradcli.views.json_output import comparison_json

SMALL = ("data=mnist5k", "model.hidden=[8]", "max_steps=6", "device=cpu")
SEARCHED = ("search_keys=[lr,weight_decay]", "protocol.search_settings=8")
ASKED = {"optimizers": ["sgd", "adamw"], "seeds": 2}
METHODS = ["sobol", "grid", "tpe"]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("gradcli.views.draw.comparison_figures.plot_comparison", lambda *args: [])


@pytest.fixture(scope="module", params=METHODS)
def found(request, tmp_path_factory):
    """A search, by each method."""
    if request.param == "tpe":
        pytest.importorskip("optuna")
    place = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradcli.views.draw.comparison_figures.plot_comparison", lambda *args: [])
        return gradcli.compare(
            *(*SMALL, *SEARCHED, f"search={request.param}"), **ASKED, jobs=2, runs_dir=place
        )


def said(comparison):
    """What a comparison says, but for times and places; as text, in which NaN is NaN."""

    def timeless(value):
        times = {"seconds_to_target": 0.0, "steps_per_second": 0.0}
        return replace(value, measured={**value.measured, **times})

    summary = comparison.summary
    trials = (replace(timeless(one), seconds=0.0, run="") for one in summary.trials)
    return repr((*map(timeless, summary.ranking), summary.pairs, summary.tuning, *trials))


def method_of(comparison):
    return comparison.summary.info.search.method


def test_every_arm_tries_as_many_settings_within_its_ranges(found):
    info = found.summary.info
    for arm in info.arms:
        tried = [one for one in found.summary.tuning if one.arm == arm.name]
        count = 6 if method_of(found) == "grid" else 8  # 3 x 2
        assert len({one.setting for one in tried}) == len(tried) == count
        for one in tried:
            for searched, (key, value) in zip(arm.ranges, one.setting, strict=True):
                assert key == searched.key
                assert searched.low <= value <= searched.high
    assert info.search.budgets == ((2, 3, 6) if method_of(found) == "grid" else (2, 4, 8))


def test_a_trial_trained_with_its_setting(found):
    for trial in found.summary.trials:
        optimizer = json.loads(found.run(trial).config)["optimizer"]
        for key, value in trial.setting:
            assert optimizer[key] == value


def test_what_was_chosen_is_the_best_on_validation(found):
    for arm in found.ranking:
        tried = [one for one in found.summary.tuning if one.arm == arm.name]
        scores = [one.val_score for one in tried]
        assert dict(arm.setting) == dict(tried[scores.index(max(scores))].setting)
        for budget in arm.by_budget:
            first = scores[: budget.settings]
            assert budget.setting == tried[first.index(max(first))].setting
            assert budget.test_score.count == 2
        assert arm.by_budget[-1].test_score == arm.test_score


def test_the_scores_at_a_budget_are_those_of_its_trials(found):
    for arm in found.ranking:
        measured = [
            one
            for one in found.summary.trials
            if one.arm == arm.name and one.stage in ("measuring", "budget")
        ]
        for budget in arm.by_budget:
            scores = [one.test_score for one in measured if one.setting == budget.setting]
            assert len(scores) == 2
            assert budget.test_score.mean == pytest.approx(math.fsum(scores) / 2)


# What follows from results can depend on who was quicker; of the others, Sobol stands for both.
@pytest.mark.parametrize("found", ["sobol", "tpe"], indirect=True)
def test_another_number_of_jobs_changes_nothing(found, tmp_path):
    again = gradcli.compare(
        *(*SMALL, *SEARCHED, f"search={method_of(found)}"), **ASKED, jobs=1, runs_dir=tmp_path
    )
    assert said(again) == said(found)


@pytest.mark.parametrize("found", ["sobol", "tpe"], indirect=True)
def test_killed_in_the_middle_it_goes_on_as_if_it_had_not_been(found, tmp_path):
    words = ["compare-optimizers", "--optimizers", "sgd,adamw", "--seeds", "2", "-j", "2", "-q"]
    words += ["--search", "lr,weight_decay", "protocol.search_settings=8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gradcli", *words, *SMALL, f"search={method_of(found)}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GRADCLI_RUNS": str(tmp_path)},
    )
    deadline = time.monotonic() + 60
    while len(finished(tmp_path)) < 11 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    before = finished(tmp_path)
    assert 11 <= len(before) < len(found.summary.trials)
    rest = gradcli.compare(
        *(*SMALL, *SEARCHED, f"search={method_of(found)}"), **ASKED, runs_dir=tmp_path
    )
    assert len(list(tmp_path.iterdir())) == 1
    assert {one: finished(tmp_path)[one] for one in before} == before
    assert said(rest) == said(found)


def finished(place):
    """When each finished trial was written: it changes if a trial runs again."""
    return {
        path.parent.name: path.stat().st_mtime_ns
        for path in Path(place).glob("*/trials/*/run.json")
        if json.loads(path.read_text())["status"] == "finished"
    }


def test_read_again_it_says_the_same_and_needs_no_searcher(found, monkeypatch, gradcli):
    monkeypatch.setattr("gradcli.comparison.search.tpe.TPE.propose", None)
    answer = gradcli("runs", "show", str(found.path), "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    expected = json.loads(json.dumps(comparison_json(found.summary)))
    for key in ("ranking", "tuning", "trials", "search"):
        assert told[key] == expected[key]


def test_its_winners_command_trains_the_same(found, gradcli, tmp_path):
    words = shlex.split(found.summary.winner_command)
    answer = gradcli(*words[1:], "--json", *(() if "--runs-dir" in words else ("-q",)))
    assert answer.code == 0, answer.err
    best = found.ranking[0]
    trial = next(
        one
        for one in found.summary.trials
        if (one.arm, one.stage, one.seed) == (best.name, "measuring", best.seeds[0])
    )
    assert json.loads(answer.out)["test"] == trial.test_score


def test_the_trial_of_a_smaller_budget_is_no_measuring_trial(found):
    """Curves and exports of what was chosen do not hold it."""
    state = ComparisonDirectory(found.path).state
    stages = {one["id"]: one["stage"] for one in state["result"]["trials"]}
    for arm in found.ranking:
        measuring = [
            one
            for one in found.summary.trials
            if one.arm == arm.name and stages[one.id] == "measuring"
        ]
        assert {one.setting for one in measuring} == {arm.setting}
