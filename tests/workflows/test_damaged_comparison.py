"""A damaged trial or `comparison.json` does not stop a comparison for good."""

import json
import shutil

import pytest

import gradcli as package
from gradcli.runs import ComparisonDirectory, find_comparison

WORDS = ("optimizers=[sgd,adam]", "protocol=quick", "protocol.tune=false", "protocol.seeds=2",
         "data=mnist5k", "model=logreg", "max_steps=4", "threads=1", "device=cpu")  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "gradcli.views.draw.comparison_figures.plot_comparison", lambda *arguments: []
        )
        package.compare(*WORDS, "engine=serial", runs_dir=home)
    return home


@pytest.fixture
def comparison(made, runs_dir, trials_in_this_process):
    shutil.copytree(made, runs_dir)
    return find_comparison("latest", runs_dir)


def resume(gradcli, comparison):
    answer = gradcli("compare-optimizers", "--no-live", "--resume", str(comparison.path), "--json")
    return answer, json.loads(answer.out) if answer.out else None


def scores(shown):
    return {one["id"]: (one["status"], one["test_accuracy"]) for one in shown["trials"]}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", b""),
        ("evals.jsonl", b"[]\n"),
        ("steps.bin", b"\0" * 500),
        ("layers.json", b"null"),
        ("checksums.bin", b"\xff" * 48),
    ],
)
def test_a_damaged_trial_is_named_set_aside_and_made_again(gradcli, comparison, file, content):
    before = json.loads(gradcli("runs", "show", comparison.name, "--json").out)
    path = comparison.trial_path(before["trials"][0]["id"])
    (path / file).write_bytes(content)
    shown = gradcli("runs", "show", comparison.name, "--json")
    assert shown.code in (0, 3) and str(path) in shown.err
    answer, after = resume(gradcli, comparison)
    assert answer.code == 0, answer.err
    assert scores(after) == scores(before)
    assert (comparison.path / "damaged" / f"{path.name}-1" / file).read_bytes() == content
    assert gradcli("runs", "show", comparison.name).err == ""


def test_a_trial_with_a_folder_in_the_place_of_a_file_is_made_again(gradcli, comparison):
    before = json.loads(gradcli("runs", "show", comparison.name, "--json").out)
    path = comparison.trial_path(before["trials"][0]["id"])
    (path / "run.json").unlink()
    (path / "run.json").mkdir()
    answer, after = resume(gradcli, comparison)
    assert answer.code == 0, answer.err
    assert scores(after) == scores(before)


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"schema": 1, "status": "finished"}'])
def test_a_damaged_comparison_is_read_from_its_plan(gradcli, comparison, content):
    before = json.loads(gradcli("runs", "show", comparison.name, "--json").out)
    (comparison.path / "comparison.json").write_bytes(content)
    listed = gradcli("runs", "list")
    assert listed.code == 0 and "comparison.json" in listed.err
    assert gradcli("runs", "show", comparison.name).code == 0
    answer, after = resume(gradcli, comparison)
    assert answer.code == 0, answer.err
    assert answer.message.count("What it began with is read from plan.json") == 1
    assert scores(after) == scores(before)
    assert ComparisonDirectory(comparison.path).status == "finished"


def test_without_the_plan_the_damage_is_named_and_other_runs_are_listed(gradcli, comparison):
    for name in ("comparison.json", "plan.json"):
        (comparison.path / name).write_bytes(b"\x80garbage")
    answer, _ = resume(gradcli, comparison)
    assert answer.code == 2 and "comparison.json is not valid JSON" in answer.message
    assert gradcli("runs", "list").code == 0
