"""`gradcli runs`: what `latest` names, what is exported, and commands that can be pasted."""

import csv
import io
import json
import shlex
import sys

import pytest

import gradcli as package
from gradcli.inspection.run_difference import difference
from gradcli.runs import find_comparison, find_run, load_run
from gradcli.views.runs.difference_screen import commands_after_difference

SMALL = ("data=mnist5k", "model.hidden=[8]", "max_steps=4")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A runs directory with a run and, begun after it, a comparison of two optimizers."""
    folder = tmp_path_factory.mktemp("latest") / "runs"
    package.train(*SMALL, runs_dir=folder)
    package.compare(
        *SMALL, "protocol.tune=false", optimizers=["sgd", "adam"], seeds=2, jobs=1, runs_dir=folder
    )
    return folder


@pytest.fixture
def names(home, monkeypatch):
    """The names of the run and of the comparison, in the runs directory of the commands."""
    monkeypatch.setenv("GRADCLI_RUNS", str(home))
    run, comparison = sorted(path.name for path in home.iterdir())
    return run, comparison


@pytest.mark.parametrize(
    "words",
    [
        ("runs", "show"),
        ("runs", "show", "latest"),
        ("runs", "export"),
        ("inspect-gradients", "latest"),
    ],
)
def test_latest_is_the_same_for_every_command_and_is_reported(gradcli, names, words):
    answer = gradcli(*words)
    assert answer.code == 0
    assert answer.err.splitlines()[0] == f"latest is {names[1]}"


@pytest.mark.parametrize("words", [("runs", "show"), ("inspect-gradients", "latest")])
def test_json_says_nothing_besides(gradcli, names, words):
    assert gradcli(*words, "--json").err == ""


@pytest.mark.parametrize(
    "words", [("train", "--resume", "latest"), ("runs", "diff", "latest", "{run}")]
)
def test_a_command_that_takes_runs_only_names_the_latest_run(gradcli, names, words):
    run, comparison = names
    answer = gradcli(*(word.format(run=run) for word in words))
    assert (answer.code, answer.out) == (2, "")
    said = " ".join(answer.err.split())
    assert f"{comparison} is a comparison" in said
    assert f"The latest run is {run}." in said


def test_python_has_the_same_latest(home, names):
    run, comparison = names
    assert find_comparison("latest", home).name == comparison
    with pytest.raises(package.UserError, match="is a comparison, but a run") as error:
        find_run("latest", home)
    assert error.value.hint == str(home / run)
    with pytest.raises(package.UserError, match="is a run, but a comparison"):
        find_comparison(run, home)
    assert find_run("adam", home).name == run  # a part of a name, which the comparison lacks


def test_a_trial_is_never_the_latest_but_can_be_named(gradcli, home, names):
    trial = next((home / names[1] / "trials").iterdir())
    assert gradcli("runs", "show", "latest").out != gradcli("runs", "show", str(trial)).out
    assert "gradcli train" not in gradcli("runs", "show", str(trial)).out


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_comparison_is_exported_with_what_identifies_its_trials(gradcli, home, names):
    rows = rows_of(gradcli("runs", "export", names[1]).out)
    trials = json.loads(gradcli("runs", "show", names[1], "--json").out)["trials"]
    assert len(trials) == 4
    assert len(rows) == sum(trial["steps"] for trial in trials) == 16
    assert list(rows[0])[:7] == ["trial", "arm", "optimizer", "lr", "seed", "stage", "step"]
    for trial in trials:
        mine = [row for row in rows if row["trial"] == trial["id"]]
        assert {(row["optimizer"], int(row["seed"])) for row in mine} == {
            (trial["optimizer"], trial["seed"])
        }
        columns = load_run(home / names[1] / "trials" / trial["id"]).columns()
        assert [float(row["loss"]) for row in mine] == pytest.approx(columns["loss"].tolist())
    lines = gradcli("runs", "export", names[1], "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["trial"] for line in lines] == [row["trial"] for row in rows]


def test_the_trials_themselves_are_one_row_each(gradcli, names):
    trials = json.loads(gradcli("runs", "show", names[1], "--json").out)["trials"]
    rows = rows_of(gradcli("runs", "export", names[1], "--what", "trials").out)
    assert [row["trial"] for row in rows] == [trial["id"] for trial in trials]
    assert [float(row["test_accuracy"]) for row in rows] == [
        float(trial["test_accuracy"]) for trial in trials
    ]
    for key in ("train_loss", "grad_norm", "steps_to_target"):
        assert [float(row[key]) for row in rows] == [float(trial[key]) for trial in trials]
    assert "measured" not in rows[0]
    refused = gradcli("runs", "export", names[0], "--what", "trials")
    assert refused.code == 2 and "only a comparison has trials" in refused.err


def test_trials_of_different_models_leave_empty_what_they_lack():
    from gradcli.runs.export import Table, write_csv, write_jsonl

    rows = [{"step": 1, "grad/h1": 0.5}, {"step": 1, "grad/h2": float("nan")}]
    as_csv, as_jsonl = io.StringIO(), io.StringIO()
    write_csv(Table(("step", "grad/h1", "grad/h2"), iter(rows)), as_csv)
    write_jsonl(Table(("step", "grad/h1", "grad/h2"), iter(rows)), as_jsonl)
    assert as_csv.getvalue() == "step,grad/h1,grad/h2\n1,0.5,\n1,,nan\n"
    assert [json.loads(line) for line in as_jsonl.getvalue().splitlines()] == [
        {"step": 1, "grad/h1": 0.5},
        {"step": 1, "grad/h2": "nan"},
    ]


def test_an_export_says_what_is_wrong_with_its_file(gradcli, names, tmp_path):
    def export(*words):
        answer = gradcli("runs", "export", names[0], *words)
        return answer.code, " ".join(answer.err.split())

    code, said = export("-o", str(tmp_path))
    assert code == 2 and f"{tmp_path} is a folder" in said
    assert f"try: -o {tmp_path / (names[0] + '.csv')}" in said
    code, said = export("-o", str(tmp_path / "new" / "steps.csv"))
    assert code == 2 and f"The folder {tmp_path / 'new'} does not exist." in said
    file = tmp_path / "steps.csv"
    file.write_text("mine")
    code, said = export("-o", str(file))
    assert (code, file.read_text()) == (2, "mine")
    assert f"{file} exists already. --force overwrites it." in said
    assert f"try: -o {file} --force" in said
    assert export("-o", str(file), "--force") == (0, "")
    assert file.read_text().startswith("step,epoch,loss")
    assert export("-o", "/dev/null") == (0, "")
    code, said = export("-o", "/dev/full")
    assert code == 2 and "The disk is full." in said


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The options that offer `mine`, an optimizer of the user's own in a folder of their own."""
    (tmp_path / "my_optimizer.py").write_text("import torch\nclass Mine(torch.optim.SGD): pass\n")
    (tmp_path / "my configs" / "optimizer").mkdir(parents=True)
    (tmp_path / "my configs" / "optimizer" / "mine.yaml").write_text(
        "# SGD under a name of one's own.\n_target_: my_optimizer.Mine\nlr: 0.1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield ("--config-dir", str(tmp_path / "my configs"), "--allow-import", "my_optimizer")
    sys.modules.pop("my_optimizer", None)  # other tests have a module of this name


def next_commands(out):
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("next"))
    return [line[len("next") :].strip() for line in lines[first:]]


def test_next_lines_carry_what_built_the_run_and_can_be_pasted(gradcli, own, tmp_path):
    elsewhere = tmp_path / "my runs"
    words = ("data=mnist5k", "model=deep_mlp", "activation=sigmoid", "optimizer=mine", "epochs=1")
    options = (*("--runs-dir", str(elsewhere)), *own)
    ended = gradcli("train", *options, *words)
    assert ended.code in (0, 4), ended.err
    (run,) = elsewhere.iterdir()
    command = shlex.split(next_commands(ended.out)[0])
    assert command[: 2 + len(options)] == ["gradcli", "train", *options]
    # The run says the same later.
    shown = gradcli("runs", "show", str(run))
    assert next_commands(shown.out) == next_commands(ended.out)
    pasted = gradcli(*command[1:], "-q")
    assert pasted.code in (0, 4), pasted.err
    assert len(list(elsewhere.iterdir())) == 2
    state = json.loads((run / "run.json").read_text())
    assert state["config_dir"] == str(tmp_path / "my configs")
    assert state["allow_import"] == ["my_optimizer"]


def test_the_fair_comparison_of_two_runs_carries_what_built_them(own, tmp_path):
    built = {"config_dir": own[1], "allow_import": [own[3]], "runs_dir": tmp_path / "runs"}
    runs = [package.train(*SMALL, lr=lr, clip="none", **built) for lr in (0.01, 0.02)]
    command = shlex.split(commands_after_difference(difference(*runs))[0])
    assert command[:2] == ["gradcli", "compare-optimizers"]
    assert command[2:8] == ["--runs-dir", str(tmp_path / "runs"), *own]


def test_a_run_that_was_written_before_these_keys_has_none(home, names):
    run = home / names[0]
    state = json.loads((run / "run.json").read_text())
    old = {
        key: state[key] for key in state if key not in ("data_dir", "config_dir", "allow_import")
    }
    copy = load_run(run)
    copy.__dict__["state"] = old
    assert copy.paths.arguments(runs=False) == []
