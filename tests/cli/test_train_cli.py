"""A run from the command line: what it prints, and what other commands then say of it."""

import csv
import io
import json
import math

import numpy as np
import pytest
import yaml

from gradcli import load_run

STEPS = 40
WORDS = ("train", "data=mnist5k", f"max_steps={STEPS}")


@pytest.fixture(scope="module")
def trained(spawn, tmp_path_factory):
    """What `gradcli train --json --quiet` answered, and the runs directory."""
    runs_dir = tmp_path_factory.mktemp("trained") / "runs"
    answer = spawn("-m", "gradcli", *WORDS, "--json", "--quiet", GRADCLI_RUNS=str(runs_dir))
    return answer, runs_dir


@pytest.fixture
def run(trained, monkeypatch):
    """The run that was trained, as `latest`."""
    answer, runs_dir = trained
    monkeypatch.setenv("GRADCLI_RUNS", str(runs_dir))
    return load_run(json.loads(answer.out)["run"])


def refuse(constant):
    raise AssertionError(f"{constant} is no JSON")


def numbers_in(value):
    """Every number in a JSON value, with the strings that stand for one."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [number for part in parts for number in numbers_in(part)]
    is_number = isinstance(value, int | float) or value in ("nan", "inf", "-inf")
    return [float(value)] if is_number and not isinstance(value, bool) else []


def test_stdout_is_one_json_object_and_nothing_else(trained):
    answer, _ = trained
    assert (answer.code, answer.err) == (0, "")
    assert "\x1b" not in answer.out
    result = json.loads(answer.out, parse_constant=refuse)
    assert set(result) == {
        *(
            "schema",
            "run",
            "tags",
            "note",
            "status",
            "data",
            "model",
            "optimizer",
            "device",
            "epochs",
            "steps",
        ),
        *(
            "train_loss",
            "metric",
            "val",
            "test",
            "val_accuracy",
            "test_accuracy",
            "metrics",
            "seconds",
            "steps_per_second",
            "phases",
        ),
        *("clipped_fraction", "clip_outlook", "layers", "findings", "notes", "parameter_groups"),
    }
    assert result["schema"] == 2
    assert (result["status"], result["steps"], result["epochs"]) == ("finished", STEPS, 1)
    assert result["model"] == {"name": "mlp", "parameters": 784 * 256 + 257 * 128 + 256 + 129 * 10}
    assert {key: result["data"][key] for key in ("name", "train", "val", "test")} == {
        "name": "mnist5k",
        "train": 4000,
        "val": 500,
        "test": 500,
    }
    assert all(map(math.isfinite, numbers_in(result)))


def test_the_result_agrees_with_itself_and_with_training(trained):
    result = json.loads(trained[0].out)
    # Guessing among ten classes has accuracy 0.1 and loss log(10).
    assert result["test_accuracy"] > 0.6
    assert result["train_loss"] < math.log(10) / 2
    assert list(result["phases"]) == ["data", "forward", "loss", "backward", "update", "monitor"]
    assert sum(result["phases"].values()) == pytest.approx(1)
    assert 0 < result["seconds"]["train"] <= result["seconds"]["total"]
    assert result["steps_per_second"] == pytest.approx(STEPS / result["seconds"]["train"])


def test_the_layers_of_the_result_are_those_of_the_steps(trained, run):
    result = json.loads(trained[0].out)
    columns = run.columns()
    clipped = columns["grad_norm_after_clip"] < columns["grad_norm_before_clip"] * (1 - 1e-6)
    assert result["clipped_fraction"] == pytest.approx(clipped.mean())
    assert [layer["name"] for layer in result["layers"]] == ["hidden1", "hidden2", "output"]
    for layer in result["layers"]:
        for side in ("grad_norm_before_clip", "grad_norm_after_clip"):
            norms = np.hypot(
                columns[f"{side}/{layer['name']}.weight"].astype(np.float64),
                columns[f"{side}/{layer['name']}.bias"].astype(np.float64),
            )
            expected = {
                "first": norms[0],
                "last": norms[-1],
                "mean": norms.mean(),
                "max": norms.max(),
            }
            assert layer[side] == pytest.approx(expected, rel=1e-6)
        assert layer["weight_norm"] > 0
        assert layer["update_ratio"] > 0


def test_the_norms_of_layers_make_up_that_of_all(run):
    columns = run.columns()
    for side in ("grad_norm_before_clip", "grad_norm_after_clip"):
        layers = np.stack([columns[f"{side}/{name}"] for name in ("hidden1", "hidden2", "output")])
        assert np.linalg.norm(layers, axis=0) == pytest.approx(columns[side], rel=1e-5)
    assert (columns["grad_norm_after_clip"] <= 1 + 1e-5).all()


def test_runs_are_listed_and_shown(gradcli, trained, run):
    listed = gradcli("runs", "list")
    assert listed.code == 0
    assert run.name in listed.out
    assert "finished" in listed.out
    (row,) = json.loads(gradcli("runs", "list", "--json").out)["runs"]
    assert (row["run"], row["status"], row["data"]) == (run.name, "finished", "mnist5k")
    assert row["test_accuracy"] == json.loads(trained[0].out)["test_accuracy"]
    for target in ("latest", run.name, run.name[-4:], str(run.path)):
        assert gradcli("runs", "show", target, "--json").out == trained[0].out
    shown = gradcli("runs", "show", "latest")
    assert (shown.code, shown.err) == (0, f"latest is {run.name}\n")
    assert "\x1b" not in shown.out
    assert run.name in shown.out
    assert f"{row['test_accuracy']:.4f}" in shown.out


def test_a_run_that_is_not_there_is_an_error_that_names_those_that_are(gradcli, run):
    answer = gradcli("runs", "show", "nope")
    assert (answer.code, answer.out) == (2, "")
    assert "There is no run 'nope'" in answer.message
    assert run.name in answer.message


def test_exports_hold_the_columns_of_the_run(gradcli, run, tmp_path):
    columns = {name: column.tolist() for name, column in run.columns().items()}
    text = gradcli("runs", "export", "latest", "--format", "csv").out
    header, *rows = csv.reader(io.StringIO(text))
    assert header == list(columns)
    from_csv = dict(zip(header, zip(*rows, strict=True), strict=True))
    lines = gradcli("runs", "export", "latest", "--format", "jsonl").out.splitlines()
    from_jsonl = [json.loads(line, parse_constant=refuse) for line in lines]
    assert len(rows) == len(lines) == STEPS
    for name, column in columns.items():
        # A float32 is written with its own digits: it comes back as the same float32.
        exact = run.columns()[name].dtype.type
        assert [exact(text) for text in from_csv[name]] == [exact(value) for value in column]
        assert [exact(line[name]) for line in from_jsonl] == [exact(value) for value in column]

    path = tmp_path / "steps.csv"
    assert gradcli("runs", "export", "latest", "--format", "csv", "-o", str(path)).out == ""
    assert path.read_text() == text


def test_in_a_pipe_progress_is_plain_lines(gradcli, runs_dir, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    answer = gradcli("train", "data=mnist5k", "max_steps=2", "model.hidden=[8]", "--name", "tiny")
    assert answer.code == 0
    for text in (answer.out, answer.err):
        assert text
        assert not set(text) & {"\x1b", "\r", "\b"}
    assert sum(line.startswith("epoch ") for line in answer.err.splitlines()) == 1
    (directory,) = runs_dir.iterdir()
    assert "-tiny-" in directory.name
    assert directory.name in answer.out


def test_a_run_that_diverges_ends_with_its_own_code_and_stays_readable(gradcli, runs_dir):
    words = ("data=mnist5k", "optimizer=sgd", "clip=none", "max_steps=20", "model.hidden=[8]")
    answer = gradcli("train", *words, "--lr", "1e30", "--json", "--quiet")
    assert answer.code == 4
    result = json.loads(answer.out, parse_constant=refuse)
    assert result["status"] == "diverged"
    assert 0 < result["steps"] < 20
    assert not all(map(math.isfinite, numbers_in(result)))
    assert "non-finite" in [finding["code"] for finding in result["findings"]]
    assert gradcli("runs", "show", "latest", "--json").out == answer.out


def test_options_are_overrides_and_explicit_overrides_win(gradcli, runs_dir):
    options = ("-o", "sgd", "--lr", "0.3", "-e", "2", "-b", "64", "-s", "5", "-a", "tanh")
    shown = gradcli("train", *options, "epochs=4", "--show-config", "--clip", "none")
    assert (shown.code, shown.err) == (0, "")
    config = yaml.safe_load(shown.out)
    assert config["optimizer"] == {"_target_": "torch.optim.SGD", "lr": 0.3, "weight_decay": 0.0}
    assert (config["epochs"], config["batch_size"], config["seed"]) == (4, 64, 5)
    assert config["activation"]["_target_"] == "torch.nn.Tanh"
    lines = shown.out.splitlines()
    assert "optimizer:  # configs/optimizer/sgd.yaml" in lines
    assert [line.split(":")[0].strip() for line in lines if line.endswith("# command line")] == [
        "lr",
        "epochs",
        "batch_size",
        "seed",
    ]
    assert not runs_dir.exists()


def test_the_config_that_is_shown_is_the_one_that_is_used(gradcli, run):
    shown = yaml.safe_load(gradcli(*WORDS, "--show-config").out)
    used = yaml.safe_load(run.config)
    del used["choices"]
    # Which are left out of a file if they are empty.
    unused = {"recorders": [], "augment": {"_target_": "gradcli.data.NoAugmentation"}}
    used["checkpoint"]["keep"] = "auto"  # so is what every earlier run had
    assert shown == used | unused


def test_probes_during_training_are_announced_stored_and_shown(gradcli, runs_dir):
    words = ["data=mnist5k", "max_steps=3", "model.hidden=[8]", "threads=1", "monitor.every=0"]
    probes = ["monitor.probes=[histograms,cosine]", "monitor.probes_at=[start,2,end]"]
    answer = gradcli("train", *words, *probes, "--no-live")
    assert answer.code == 0
    assert [line.partition(":")[0] for line in answer.err.splitlines() if "probes" in line] == [
        "probes at step 0",
        "probes at step 2",
        "probes at step 3",
    ]
    (path,) = runs_dir.iterdir()
    made = [(one.step, one.probe) for one in load_run(path).probe_records]
    assert made == [(step, name) for step in (0, 2, 3) for name in ("histograms", "cosine")]
    shown = gradcli("inspect-gradients", "latest")
    assert shown.code == 0
    assert "gradient cosine" in shown.out
    told = json.loads(gradcli("inspect-gradients", "latest", "--json").out)["probe_history"]
    assert [(one["step"], one["probe"]) for one in told] == made


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("monitor.probes=[sharpnes]", "monitor.probes=[sharpness]"),
        ("monitor.probes_at=[ends]", "monitor.probes_at=[end]"),
    ],
)
def test_a_misspelt_probe_or_moment_is_refused_before_anything_is_made(
    gradcli, runs_dir, word, nearest
):
    answer = gradcli("train", "data=mnist5k", word)
    assert answer.code == 2
    assert f"try: {nearest}" in answer.message
    assert not runs_dir.exists()
