"""Runs and comparisons as each schema has written them: read as they were meant, or refused."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gradcli.config import compose_train, load_config
from gradcli.errors import UserError
from gradcli.runs import find_any, find_comparison, find_run, load_checkpoint

FIXTURES = Path(__file__).parents[1] / "fixtures"
SCHEMAS = sorted(FIXTURES.glob("schema-*"))
#: How each run ended, and the steps that it made.
RUNS = {
    "finished": ("finished", 64),
    "interrupted": ("interrupted", 40),
    "before_probes": ("interrupted", 40),
    "diverged": ("diverged", 1),
    "own": ("finished", 30),
}


@pytest.fixture(params=SCHEMAS, ids=lambda path: path.name)
def written(request, runs_dir):
    """A runs directory as one schema wrote it, which the commands of the test use."""
    shutil.copytree(request.param, runs_dir)
    return runs_dir


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_there_is_one_of_every_schema():
    from gradcli.runs.files import SCHEMA

    assert [path.name for path in SCHEMAS] == [f"schema-{n}" for n in range(1, SCHEMA + 1)]


def test_nothing_in_them_tells_whose_machine_wrote_them():
    files = [path for path in FIXTURES.rglob("schema-*/**/*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert not any(word in content for word in (b"/tmp/", b"/home/", b"/root", b"/Users/"))
        if path.name == "run.json":
            assert json.loads(content)["host"] == "laboratory"
    assert sum(path.stat().st_size for path in files) < 450_000 * len(SCHEMAS)


def test_each_is_listed(gradcli, written):
    answer = gradcli("runs", "list", "--json")
    rows = {row["name"]: row for row in json.loads(answer.out)["runs"]}
    assert {name: rows[name]["status"] for name in RUNS} == {
        name: status for name, (status, _) in RUNS.items()
    }
    assert rows["comparison"]["status"] == "finished"
    assert rows["comparison"]["optimizer"] == "sgd, momentum"
    assert gradcli("runs", "list").code == 0


@pytest.mark.parametrize("name", RUNS)
def test_each_run_is_shown_with_the_numbers_that_were_noted(gradcli, written, name):
    shown = json.loads(gradcli("runs", "show", name, "--json").out)
    noted = find_run(name, written).state["result"]
    assert (shown["status"], shown["steps"]) == RUNS[name]
    for key in ("train_loss", "val", "test"):
        value = noted.get(key, noted.get(f"{key}_accuracy"))
        assert shown[key] == pytest.approx(value) if value != "nan" else "nan"
    assert gradcli("runs", "show", name).code == 0


@pytest.mark.parametrize("name", [*RUNS, "comparison"])
def test_each_is_inspected(gradcli, written, name):
    answer = gradcli("inspect-gradients", name, "--json")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    found = result["inspections"] if name == "comparison" else [result]
    assert len(found) == (2 if name == "comparison" else 1)
    assert all(len(one["layers"]) > 1 for one in found)
    assert gradcli("inspect-gradients", name).code == 0


def test_what_probes_found_is_read(gradcli, written):
    history = json.loads(gradcli("inspect-gradients", "finished", "--json").out)["probe_history"]
    assert [(one["step"], one["probe"]) for one in history] == [
        (step, probe)
        for step in (0, 64)
        for probe in ("histograms", "noise", "sharpness", "hidden-states")
    ]


def test_a_checkpoint_can_be_probed(gradcli, written):
    answer = gradcli("inspect-gradients", "before_probes", "--probe", "histograms", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["probes"]["histograms"]["result"]


@pytest.mark.parametrize("name", RUNS)
def test_each_run_is_exported_as_it_was_logged(gradcli, written, name):
    rows = list(csv.DictReader(gradcli("runs", "export", name).out.splitlines()))
    run = find_run(name, written)
    log = (run.path / "steps.bin").read_bytes()
    row_bytes = json.loads((run.path / "steps.json").read_text())["row_bytes"]
    assert len(rows) == len(log) // row_bytes
    for index, row in enumerate(rows):  # the layout, taken apart by hand
        start = index * row_bytes
        assert int(row["step"]) == np.frombuffer(log, "<i8", 1, start)[0]
        loss = np.frombuffer(log, "<f4", 1, start + 12)[0]
        assert np.float32(row["loss"]) == loss or np.isnan(loss)


def test_runs_are_laid_side_by_side(gradcli, written):
    found = json.loads(gradcli("runs", "diff", "finished", "interrupted", "--json").out)
    assert "optimizer.lr" in [one["key"] for one in found["settings"]]
    assert gradcli("runs", "diff", "finished", "own").code == 0


def test_a_key_that_did_not_exist_yet_is_not_a_difference(gradcli, written):
    found = json.loads(gradcli("runs", "diff", "before_probes", "interrupted", "--json").out)
    assert found["settings"] == []


def test_an_interrupted_run_is_resumed_with_the_defaults_of_keys_that_did_not_exist(
    gradcli, written
):
    """Both runs began alike: they must end alike, too."""
    for name in ("interrupted", "before_probes"):
        assert "probes" in find_run("interrupted", written).config
        answer = gradcli("train", "--no-live", "--resume", name)
        assert answer.code == 0, answer.err
    one, other = (find_run(name, written) for name in ("interrupted", "before_probes"))
    assert (one.status, len(one.steps)) == (other.status, len(other.steps)) == ("finished", 96)
    assert (one.path / "steps.bin").read_bytes() == (other.path / "steps.bin").read_bytes()
    weights, others = (load_checkpoint(run.path)["model"] for run in (one, other))
    assert all(weights[key].equal(others[key]) for key in weights)
    monitor = load_config(other.config, where="config.yaml").config.monitor
    assert monitor == load_config(one.config, where="config.yaml").config.monitor


def test_a_complete_comparison_is_shown_and_not_run_again(gradcli, written):
    comparison = find_comparison("comparison", written)
    before = comparison.state
    shown = json.loads(gradcli("runs", "show", "comparison", "--json").out)
    noted = comparison.state["result"]
    for one, other in zip(shown["ranking"], noted["ranking"], strict=True):
        assert (one["arm"], one["lr"]) == (other["arm"], other["lr"])
        assert one["test_accuracy"] == other["test_accuracy"]
    for one, other in zip(shown["pairs"], noted["pairs"], strict=True):
        for key, value in other.items():
            assert one[key] == (value if isinstance(value, str) else pytest.approx(value))
        # At first the scores of single examples were not recorded.
        was_recorded = before["schema"] > 1
        tested = ("seeds-and-examples", 500) if was_recorded else ("seeds", 0)
        assert (one["tested_on"], one["examples"]) == tested
    answer = gradcli("compare-optimizers", "--no-live", "--resume", "comparison", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["trials"] == shown["trials"]
    assert find_comparison("comparison", written).state == before


def test_a_comparison_that_lacks_a_trial_is_resumed(gradcli, written, trials_in_this_process):
    comparison = find_comparison("comparison", written)
    before = json.loads(gradcli("runs", "show", "comparison", "--json").out)
    trial = next(one for one in before["trials"] if one["stage"] == "measuring")
    shutil.rmtree(comparison.trial_path(trial["id"]))
    change(comparison.path / "comparison.json", status="interrupted")
    answer = gradcli("compare-optimizers", "--no-live", "--resume", "comparison", "--json")
    assert answer.code == 0, answer.err
    after = json.loads(answer.out)
    assert [one["id"] for one in after["trials"]] == [one["id"] for one in before["trials"]]
    assert {one["status"] for one in after["trials"]} == {"finished"}


# Keys that a config lacks


def test_a_key_that_is_missing_has_its_default_and_one_that_has_none_is_an_error():
    lines = compose_train(["data=mnist5k", "epochs=7"]).yaml().splitlines(keepends=True)

    def without(beginning):
        return "".join(line for line in lines if not line.startswith(beginning))

    found = load_config(without("decay_biases_and_norms"), where="here").config
    assert (found.decay_biases_and_norms, found.epochs) == (True, 7)
    with pytest.raises(UserError, match="There is no key 'more'"):
        load_config("".join(lines) + "more: 1\n", where="here")
    with pytest.raises(UserError, match=r"The key 'data.normalize' has no value"):
        load_config(without("  normalize"), where="here")


# Newer schemas


@pytest.mark.parametrize(
    ("name", "file"), [("finished", "run.json"), ("comparison", "comparison.json")]
)
def test_what_a_newer_gradcli_wrote_is_refused_with_a_message(gradcli, written, name, file):
    path = find_any(name, written).path / file
    change(path, schema=99)
    with pytest.raises(UserError, match="has schema 99"):
        find_any(str(path.parent), written)
    for words in (
        ("runs", "show", name),
        ("runs", "show", str(path.parent)),
        ("runs", "diff", name, "interrupted"),
        ("inspect-gradients", name),
    ):
        answer = gradcli(*words)
        assert answer.code == 2
        said = " ".join(answer.err.replace("│", " ").split())
        assert "has schema 99" in said
        assert file in said
        assert "pip install --upgrade gradcli" in said


def test_no_command_takes_the_numbers_of_a_newer_run(gradcli, written):
    run = find_run("finished", written)
    change(run.path / "run.json", schema=99)
    for words in (
        ("runs", "export", run.name),
        ("train", "--resume", str(run.path), "epochs=9"),
        ("runs", "rm", "--yes", run.name),
    ):
        answer = gradcli(*words)
        assert answer.code == 2
        assert answer.out == ""
        assert "has schema 99" in " ".join(answer.err.split())
    assert run.path.exists()


def test_a_newer_step_log_alone_is_refused(gradcli, written):
    change(find_run("finished", written).path / "steps.json", schema=2)
    answer = gradcli("runs", "show", "finished")
    assert answer.code == 2
    assert "steps.json" in answer.err
    assert "schema 2" in " ".join(answer.err.split())


def test_the_list_leaves_out_what_a_newer_gradcli_wrote_and_says_so(gradcli, written):
    change(find_run("finished", written).path / "run.json", schema=99)
    change(find_comparison("comparison", written).path / "comparison.json", schema=99)
    answer = gradcli("runs", "list", "--json")
    assert answer.code == 0
    assert {row["name"] for row in json.loads(answer.out)["runs"]} == set(RUNS) - {"finished"}
    assert " ".join(answer.err.split()).count("schema 99") == 2


@pytest.mark.parametrize("file", ["run.json", "comparison.json"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not valid JSON"),
        (b'{"schema": 1, "sta', "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[]", "does not hold a JSON object"),
        (b"null", "does not hold a JSON object"),
        (b'{"schema": 1}', "has no key 'status'"),
    ],
)
def test_a_broken_state_file_is_named_and_hides_no_other_run(
    gradcli, written, file, content, problem
):
    whole = len(json.loads(gradcli("runs", "list", "--json").out)["runs"])
    (written / "zzz").mkdir()
    (written / "zzz" / file).write_bytes(content)
    answer = gradcli("runs", "list", "--json")
    assert answer.code == 0
    assert len(json.loads(answer.out)["runs"]) == whole
    with pytest.raises(UserError, match=problem):
        find_any("zzz", written)
