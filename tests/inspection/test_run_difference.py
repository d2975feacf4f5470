"""`gradcli runs diff`: what sets two runs apart, against runs whose difference is known."""

import csv
import io
import json
import math
import shlex
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

import gradcli as package
from gradcli.config import flat_settings
from gradcli.errors import UserError
from gradcli.inspection.parting.contrast import Contrast
from gradcli.inspection.run_difference import difference, setting
from gradcli.records import Metric
from gradcli.views.runs.difference_screen import (
    commands_after_difference,
    difference_screen,
    difference_verdict,
    steps_sentence,
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
    "unlogged": ["monitor.every_step=0"],
    "class": ["activation._target_=torch.nn.Tanh"],
    "sgd, momentum": ["optimizer=sgd", "optimizer.momentum=0.9"],
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
    assert found.steps_are_same
    assert difference_verdict(found) == "The runs are the same."
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
    assert "before step 2 and differ" in steps_sentence(found)


def test_another_seed_is_luck(between):
    found = between("plain", "seed")
    assert found.settings == found.decisions == (Contrast("seed", 0, 1),)
    assert found.first_different_step == 1
    apart = abs(found.a.test_score - found.b.test_score)
    assert f"{apart:.4f} of accuracy is luck" in difference_verdict(found)
    assert not any("compare" in command for command in commands_after_difference(found))


def test_no_result_is_credited_to_a_setting_if_the_runs_were_made_differently(between):
    made = (Contrast("code", "a", "b"), Contrast("torch", "2.12.0", "2.13.0"))
    seed, rate = (replace(between("plain", one), origin=made) for one in ("seed", "rate"))
    differently = "They were also made differently: code, torch."
    assert difference_verdict(seed) == f"The runs differ in the seed. {differently}"
    assert difference_verdict(rate).startswith("The runs differ in optimizer.lr. ")
    assert difference_verdict(rate).endswith(differently)


def test_a_longer_run_begins_with_the_shorter_one(between):
    found = between("plain", "longer")
    assert (found.steps_compared, found.first_different_step) == (6, None)
    assert not found.steps_are_same
    assert found.settings == (Contrast("max_steps", 6, 9),)


def test_the_beginning_of_a_run_is_as_good_as_that(between):
    found = between("plain", "again")
    found = replace(found, b=replace(found.b, steps=9))
    assert difference_verdict(found) == "The runs are the same up to the end of the shorter one."


def test_steps_are_paired_by_their_number(between, runs):
    found = between("plain", "every second")
    assert runs["every second"].steps.step.tolist() == [1, 3, 5]
    assert (found.steps_compared, found.first_different_step) == (3, None)
    # How often something is written down changes no training.
    assert found.decisions == ()
    assert (
        difference_verdict(found) == "The runs are the same, apart from what they record or save."
    )
    assert not any("compare" in command for command in commands_after_difference(found))


def test_settings_that_the_table_lists_are_not_said_to_be_the_same(between):
    """The sentences on like settings stand beneath a table of those that only record."""
    watched = between("plain", "every second")
    assert [one.key for one in watched.settings] == ["monitor.every_step"]
    found = replace(watched, first_different_step=3)
    for one in (
        found,
        between("plain", "unlogged"),
        replace(found, causes=(("epoch", 3),)),
        replace(found, origin=(Contrast("torch", "2.12.0", "2.13.0"),)),
    ):
        said = difference_verdict(one)
        assert said.startswith("The settings that may change a training are the same, ")


def test_a_group_without_settings_of_its_own_is_no_difference(tmp_path):
    groups = ["optimizer.groups={biases:{where:{names:'*.bias'},lr:0.01},rest:{}}"]
    folder = tmp_path / "runs"
    plain, grouped, faster = (
        package.train(*SMALL, *words, runs_dir=folder)
        for words in ([], groups, [*groups, "+optimizer.groups.rest.lr=0.1"])
    )
    ours = {one.key: (one.a, one.b) for one in difference(plain, grouped).settings}
    assert ours["optimizer.groups.biases.lr"] == (None, 0.01)
    assert not any(key.startswith("optimizer.groups.rest") for key in ours)
    found = difference(grouped, faster)
    assert found.settings == (Contrast("optimizer.groups.rest.lr", None, 0.1),)
    assert "differ in optimizer.groups.rest.lr alone" in difference_verdict(found) or (
        "made differently" in difference_verdict(found)
    )


def test_without_a_step_in_common_nothing_is_claimed(between):
    found = between("plain", "unlogged")
    assert (found.steps_compared, found.first_different_step) == (0, None)
    assert "cannot be compared" in difference_verdict(found)
    assert "no logged step in common" in steps_sentence(found)


def test_if_only_losses_are_compared_only_they_are_claimed(between):
    found = between("plain", "deep")
    assert not found.norms_compared
    assert steps_sentence(found).startswith("Losses differ")


def test_data_that_came_to_the_same_are_the_same(runs, monkeypatch, tmp_path):
    monkeypatch.setenv("GRADCLI_DATA", str(tmp_path))  # no MNIST there: `auto` is the sample
    words = [word for word in SMALL if not word.startswith("data=")]
    found = difference(runs["plain"], package.train(*words, runs_dir=tmp_path))
    assert found.decisions == ()
    assert difference_verdict(found) == "The runs are the same."


def test_another_class_under_the_same_option_is_a_difference(between):
    found = between("plain", "class")
    assert [one.key for one in found.decisions] == ["activation._target_"]
    assert not any("compare" in command for command in commands_after_difference(found))


def test_an_option_with_changed_values_is_not_a_plain_option(between):
    found = between("plain", "sgd, momentum")
    assert [one.key for one in found.decisions] == ["optimizer"]
    assert "optimizer and its own keys" in difference_verdict(found)
    assert not any("compare" in command for command in commands_after_difference(found))


def test_users_own_loops(tmp_path):
    runs = []
    for rate in (0.1, 0.2):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        with package.GradientMonitor(model, optimizer, runs_dir=tmp_path) as monitor:
            for _ in range(3):
                optimizer.zero_grad()
                loss = model(torch.ones(4, 3)).square().mean()
                loss.backward()
                monitor.step(loss)
                optimizer.step()
        runs.append(package.load_run(monitor.run))
    found = difference(*runs)
    assert Contrast("lr", 0.1, 0.2) in found.settings
    assert (found.steps_compared, found.first_different_step) == (3, 2)
    assert not any("compare" in command for command in commands_after_difference(found))
    lines = drawn(found, 80, terminal=True)
    assert not any(line.startswith(("test accuracy", "validation accuracy")) for line in lines)


@pytest.mark.parametrize(
    "text", ["- a\n- b\n", "choices: null\n", "a: [", "a: ${nope", "a: \x07\n", ""]
)
def test_a_broken_config_is_reported_as_such(text):
    with pytest.raises(UserError, match=r"not a config|not valid YAML"):
        flat_settings(text, where="here")


def test_equal_settings_and_other_numbers_lay_the_blame_on_the_origin(between):
    found = replace(between("plain", "again"), first_different_step=3)
    assert "something that is not recorded differs" in difference_verdict(found)
    found = replace(found, origin=(Contrast("torch", "2.12.0", "2.13.0"),))
    assert difference_verdict(found).endswith("the runs were made differently: torch.")


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_an_extended_run_differs_from_a_long_one_by_what_is_recorded(tmp_path, schedule):
    words = ["data=mnist5k", "model.hidden=[8]", f"schedule={schedule}", "model.dropout=0.5"]
    short = package.train(*words, "epochs=1", runs_dir=tmp_path)
    extended = package.train("epochs=2", resume=short.path, runs_dir=tmp_path)
    long = package.train(*words, "epochs=2", runs_dir=tmp_path)
    found = difference(extended, long)
    assert found.settings == ()
    (commands,) = found.origin
    assert commands.key == "commands"
    assert "epochs=1" in commands.a and "resumed" in commands.a
    assert "epochs=2" in commands.b and "resumed" not in commands.b
    if schedule == "constant":  # the extension changed nothing
        assert (found.causes, found.first_different_step) == ((), None)
        assert difference_verdict(found) == "The runs are the same."
        return
    rates = extended.steps.learning_rate, long.steps.learning_rate
    first = 1 + int(np.argmax(rates[0] != rates[1]))
    assert found.causes == (("learning rate", first),)
    said = difference_verdict(found)
    assert "made differently: commands." in said
    assert said.endswith(f"The learning rate differs from step {first} on.")


def test_the_parts_of_a_run_are_listed_if_they_are_recorded(between, runs):
    def part(start, *overrides):
        return {"start_step": start, "overrides": list(overrides), "argv": []}

    ours = package.load_run(runs["plain"].path)
    ours.state["parts"] = [part(0, "epochs=1", "name=mine"), part(32, "epochs=2")]
    found = difference(ours, runs["again"])
    (commands,) = found.origin
    assert commands.a == "epochs=1; resumed at step 32: epochs=2"


def test_other_commands_are_named_if_nothing_else_explains_the_numbers(runs):
    ours = package.load_run(runs["plain"].path)
    ours.__dict__["steps"] = replace(ours.steps, loss=ours.steps.loss + 1)
    (part,) = ours.state["parts"]
    part["overrides"] = [*part["overrides"], "threads=null"]
    found = difference(ours, runs["again"])
    assert [one.key for one in found.origin] == ["commands"]
    assert "not recorded" not in difference_verdict(found)
    part["overrides"].pop()
    assert "something that is not recorded differs" in difference_verdict(
        difference(ours, runs["again"])
    )


def test_a_learning_rate_that_differs_is_named(between):
    found = replace(between("plain", "again"), first_different_step=3, causes=(("epoch", 3),))
    assert difference_verdict(found) == (
        "The settings are the same, but the epoch differs from step 3 on."
    )


def test_several_settings(between):
    found = between("plain", "more")
    assert [one.key for one in found.decisions] == ["clip", "batch_size", "seed"]
    assert "3 settings" in difference_verdict(found)


def test_divergence_is_not_luck(between):
    found = between("plain", "more")
    found = replace(found, b=replace(found.b, status="diverged"))
    assert difference_verdict(found) == "The runs differ in 3 settings, and b diverged."


def test_settings_are_named_as_overrides_set_them(runs):
    settings = flat_settings(runs["deep"].config, where="here")
    assert settings["model"] == "deep_mlp"
    assert settings["model.hidden"] == [8, 8, 8]
    assert not any("choices" in key for key in settings)
    assert [setting(value) for value in ([8, 8], True, None, 0.1, "relu")] == [
        *("[8,8]", "true", "null", "0.1", "relu")
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
    words = shlex.split(commands_after_difference(between(one, other))[0])
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


def test_changes_and_ratios_are_those_of_the_records(between, runs):
    lines = [line.split() for line in drawn(between("plain", "sgd"), 140, terminal=True)]
    accuracies = [
        next(one.score for one in runs[name].evals if one.split == "test")
        for name in ("plain", "sgd")
    ]
    (row,) = [line for line in lines if line[:2] == ["test", "accuracy"]]
    assert float(row[4]) == pytest.approx(accuracies[1] - accuracies[0], abs=1e-4)
    means = [
        runs[name].columns()["grad_norm_before_clip/output"].astype(np.float64).mean()
        for name in ("plain", "sgd")
    ]
    row = next(line for line in lines if line[:1] == ["output"])
    assert list(map(float, row[1:])) == pytest.approx([*means, means[1] / means[0]], rel=5e-3)


def test_scores_by_different_metrics_are_given_with_their_names(between):
    found = between("plain", "sgd")
    squared = replace(found.b.info, metric=Metric("mse", "minimize"))
    other = replace(found, b=replace(found.b, info=squared, test_score=0.25))
    lines = drawn(other, 100, terminal=True)
    (row,) = [line.split() for line in lines if line.startswith("test score")]
    assert row[2:] == ["accuracy", f"{found.a.test_score:.4f}", "mse", "0.2500"]
    assert any("different metrics: accuracy in a and mse in b." in line for line in lines)
    assert not any("different metrics" in line for line in drawn(found, 100, terminal=True))


def test_a_seed_is_not_credited_with_scores_by_different_metrics(between):
    found = between("plain", "seed")
    squared = replace(found.b.info, metric=Metric("mse", "minimize"))
    assert "is luck here" in difference_verdict(found)
    other = replace(found, b=replace(found.b, info=squared))
    assert difference_verdict(other) == "The runs differ in the seed alone."


def test_what_is_not_known_is_a_dash(between):
    found = between("plain", "sgd")
    unknown = replace(found, b=replace(found.b, test_score=math.nan, seconds_total=math.nan))
    line = next(line for line in drawn(unknown, 80, terminal=True) if "test accuracy" in line)
    assert line.split() == ["test", "accuracy", f"{found.a.test_score:.4f}", "-"]


def test_the_command(runs, gradcli, monkeypatch):
    folder = str(runs["plain"].path.parent)
    words = "runs", "diff", runs["plain"].name, runs["sgd"].name, "--runs-dir", folder
    answer = gradcli(*words)
    assert (answer.code, answer.err) == (0, "")
    assert "optimizer.lr" in answer.out
    said = json.loads(gradcli(*words, "--json").out)
    assert said["schema"] == 2
    assert (said["steps_compared"], said["first_different_step"]) == (6, 2)
    assert said["norms_compared"] is True
    assert {"key": "optimizer", "a": "adam", "b": "sgd"} in said["settings"]
    assert said["a"]["test_accuracy"] == runs["plain"].state["result"]["test"]


def test_the_picture(runs, gradcli, tmp_path):
    def ask(one, other):
        words = str(runs[one].path), str(runs[other].path)
        return gradcli("runs", "diff", *words, "--plot", "--runs-dir", str(tmp_path))

    answer = ask("plain", "sgd")
    name = f"diff-{runs['plain'].name}-{runs['sgd'].name}.png"
    assert (answer.code, answer.err) == (0, f"picture     {tmp_path / 'plots' / name}\n")
    assert (tmp_path / "plots" / name).read_bytes().startswith(b"\x89PNG")
    assert ask("plain", "deep").code == 0  # of other layers the losses are drawn
    assert len(list((tmp_path / "plots").iterdir())) == 2
    alike = ask("plain", "again")
    assert alike.err == "There is no picture: no logged step of the runs differs.\n"
    assert len(list((tmp_path / "plots").iterdir())) == 2


def test_a_run_is_not_compared_with_itself(runs, gradcli):
    path = str(runs["plain"].path)
    answer = gradcli(
        "runs", "diff", path, runs["plain"].name, "--runs-dir", str(runs["plain"].path.parent)
    )
    assert (answer.code, answer.out) == (2, "")
    assert "are the same run" in answer.message


def test_trials_are_compared_without_advice(gradcli, runs_dir, trials_in_this_process):
    words = ["data=mnist5k", "model.hidden=[4]", "max_steps=1", "--lrs", "0.1", "-q"]
    made = json.loads(gradcli("compare-optimizers", *words, "--seeds", "2", "--json").out)
    seed = made["trials"][0]["seed"]
    one, other, *_ = [trial["run"] for trial in made["trials"] if trial["seed"] == seed]
    answer = gradcli("runs", "diff", one, other)
    assert answer.code == 0, answer.err
    assert "differ in optimizer" in answer.out  # which two runs would be advised on
    assert "compare-optimizers" not in answer.out


def test_a_comparison_is_refused_with_its_trials(gradcli, runs_dir, trials_in_this_process):
    words = ["data=mnist5k", "model.hidden=[4]", "max_steps=1", "protocol.tune=false", "-q"]
    made = json.loads(gradcli("compare-optimizers", *words, "--seeds", "2", "--json").out)
    answer = gradcli("runs", "diff", made["comparison"], "latest")
    assert (answer.code, answer.out) == (2, "")
    assert "is a comparison" in answer.message
    assert "trials/" in answer.err.replace("\n", "")
