"""`gradcli runs diff`: what sets two runs apart, against runs whose difference is known."""

import csv
import io
import json
import math
import shlex
from dataclasses import replace

import pytest
from rich.console import Console

import gradcli as package
from gradcli.config import flat_settings
from gradcli.difference import Contrast, difference
from gradcli.views.runs_difference import (
    difference_screen,
    next_commands,
    setting,
    steps_sentence,
    verdict,
)

SMALL = ["data=mnist5k", "model.hidden=[8]", "schedule=constant", "max_steps=6"]
WITH = {
    "plain": [],
    "again": [],
    "seed": ["seed=1"],
    "sgd": ["optimizer=sgd"],
    "rate": ["optimizer.lr=0.01"],
    "longer": ["max_steps=9"],
    "rate, no clip": ["optimizer.lr=0.01", "clip=none"],
    "every second": ["monitor.every_step=2"],
    "deep": ["model=deep_mlp", "model.hidden=[8,8,8]"],
    "more": ["seed=1", "clip=none", "batch_size=64"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run for each of `WITH`."""
    folder = tmp_path_factory.mktemp("differing") / "runs"
    return {name: package.train(*SMALL, *words, runs_dir=folder) for name, words in WITH.items()}


@pytest.fixture
def between(runs):
    def compare(a, b):
        return difference(runs[a], runs[b])

    return compare


def exported(gradcli, run):
    """The rows of a run as the export writes them, by step."""
    _, *rows = csv.reader(io.StringIO(gradcli("runs", "export", str(run.path)).out))
    return {int(row[0]): [row[2], *row[4:]] for row in rows}


def test_the_same_twice(between):
    found = between("plain", "again")
    assert (found.settings, found.origin) == ((), ())
    assert (found.steps_compared, found.first_different_step) == (6, None)
    assert found.is_same
    assert verdict(found) == "The runs are the same."
    assert "all 6 logged steps" in steps_sentence(found)


@pytest.mark.parametrize("other", ["seed", "sgd", "rate", "deep", "more"])
def test_the_first_step_that_differs_is_that_of_the_exports(between, runs, gradcli, other):
    ours, theirs = exported(gradcli, runs["plain"]), exported(gradcli, runs[other])
    expected = next(step for step in sorted(ours) if ours[step] != theirs[step])
    assert between("plain", other).first_different_step == expected


def test_another_optimizer_shows_after_its_first_update(between):
    found = between("plain", "sgd")
    assert found.first_different_step == 2
    assert [one.key for one in found.decisions] == ["optimizer"]
    assert Contrast("optimizer", "adam", "sgd") in found.settings
    assert any(one.key == "optimizer.lr" for one in found.settings)
    assert "up to step 2" in steps_sentence(found)


def test_another_seed_is_luck(between):
    found = between("plain", "seed")
    assert found.settings == found.decisions == (Contrast("seed", 0, 1),)
    assert found.first_different_step == 1
    apart = abs(found.a.test_accuracy - found.b.test_accuracy)
    assert f"{apart:.4f} of accuracy is luck" in verdict(found)
    assert not any("compare" in command for command in next_commands(found))


def test_a_longer_run_begins_with_the_shorter_one(between):
    found = between("plain", "longer")
    assert (found.steps_compared, found.first_different_step) == (6, None)
    assert not found.is_same
    assert found.settings == (Contrast("max_steps", 6, 9),)


def test_steps_are_paired_by_their_number(between, runs):
    found = between("plain", "every second")
    assert runs["every second"].steps.step.tolist() == [1, 3, 5]
    assert (found.steps_compared, found.first_different_step) == (3, None)


def test_equal_settings_and_other_numbers_lay_the_blame_on_the_origin(between):
    found = replace(between("plain", "again"), first_different_step=3)
    assert "something that is not on record" in verdict(found)
    found = replace(found, origin=(Contrast("torch", "2.12.0", "2.13.0"),))
    assert verdict(found).endswith("how the runs were made: torch.")


def test_several_settings(between):
    found = between("plain", "more")
    assert [one.key for one in found.decisions] == ["clip", "batch_size", "seed"]
    assert "3 settings" in verdict(found)


def test_divergence_is_no_luck(between):
    found = between("plain", "more")
    found = replace(found, b=replace(found.b, status="diverged"))
    assert verdict(found) == "The runs differ in 3 settings, and b diverged."


def test_settings_are_named_as_overrides_set_them(runs):
    settings = flat_settings(runs["deep"].config, where="here")
    assert settings["model"] == "deep_mlp"
    assert settings["model.hidden"] == [8, 8, 8]
    assert not any("_target_" in key or "choices" in key for key in settings)
    assert [setting(value) for value in ([8, 8], True, None, 0.1, "relu")] == [
        *("[8,8]", "true", "-", "0.1", "relu")
    ]


@pytest.mark.parametrize(
    ("one", "other", "arms"),
    [
        ("plain", "sgd", 2),
        ("plain", "rate", 1),
        ("plain", "longer", 2),
        ("rate", "rate, no clip", 2),
    ],
)
def test_the_comparison_that_it_advises_runs(
    between, gradcli, runs_dir, trials_in_this_process, one, other, arms
):
    words = shlex.split(next_commands(between(one, other))[0])
    assert words[:2] == ["gradcli", "compare-optimizers"]
    answer = gradcli(*words[1:], "epochs=1", "--seeds", "2", "--json", "--quiet")
    assert answer.code == 0, answer.err
    said = json.loads(answer.out)
    assert len(said["ranking"]) == arms
    if one == "rate":
        assert {trial["lr"] for trial in said["trials"]} == {0.01}


def drawn(found, width, *, terminal):
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    console.print(difference_screen(found), crop=False)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 140])
@pytest.mark.parametrize("other", ["again", "deep", "more"])
def test_tables_fit_the_terminal(between, other, width):
    lines = drawn(between("plain", other), width, terminal=True)
    tables = lines[3 : next(i for i, line in enumerate(lines) if line.startswith("findings"))]
    assert max(map(len, tables)) <= width


def test_what_is_not_known_is_a_dash(between):
    found = between("plain", "sgd")
    unknown = replace(found, b=replace(found.b, test_accuracy=math.nan, seconds_total=math.nan))
    line = next(line for line in drawn(unknown, 80, terminal=True) if "test accuracy" in line)
    assert line.split() == ["test", "accuracy", f"{found.a.test_accuracy:.4f}", "-"]


def test_the_command(runs, gradcli, monkeypatch):
    folder = str(runs["plain"].path.parent)
    words = "runs", "diff", runs["plain"].name, runs["sgd"].name, "--runs-dir", folder
    answer = gradcli(*words)
    assert (answer.code, answer.err) == (0, "")
    assert "optimizer.lr" in answer.out
    said = json.loads(gradcli(*words, "--json").out)
    assert said["schema"] == 1
    assert (said["steps_compared"], said["first_different_step"]) == (6, 2)
    assert {"key": "optimizer", "a": "adam", "b": "sgd"} in said["settings"]
    assert said["a"]["test_accuracy"] == runs["plain"].state["result"]["test_accuracy"]


def test_a_comparison_is_refused_with_its_trials(gradcli, runs_dir, trials_in_this_process):
    words = ["data=mnist5k", "model.hidden=[4]", "max_steps=1", "protocol.tune=false", "-q"]
    made = json.loads(gradcli("compare-optimizers", *words, "--seeds", "2", "--json").out)
    answer = gradcli("runs", "diff", made["comparison"], "latest")
    assert (answer.code, answer.out) == (2, "")
    assert "is a comparison" in answer.err
    assert "trials/" in answer.err.replace("\n", "")
