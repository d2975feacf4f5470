"""`gradcli inspect-gradients` from the command line, and `gradcli.inspect`."""

from __future__ import annotations

import json
import shlex

import pytest

import gradcli
from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.workflows.train import run_trial

SICK = ("data=mnist5k", "model=deep_mlp", "activation=sigmoid", "init=xavier", "examples=64")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with one short run, `20260101-short`."""
    home = tmp_path_factory.mktemp("inspected") / "runs"
    composed = compose_train(["data=mnist5k", "threads=1", "max_steps=30", "monitor.every=5"])
    run_trial(
        home / "20260101-short",
        composed.yaml(),
        lambda config: load_dataset("mnist5k"),
        facts={"started": "2026-01-01T00:00:00+00:00", "seed": 0, "overrides": ["max_steps=30"]},
    )
    return home


@pytest.fixture
def inspect(gradcli, runs):
    def run(*words):
        return gradcli("inspect-gradients", *words, "--runs-dir", str(runs))

    return run


@pytest.mark.parametrize("target", ["latest", "short", "20260101"])
def test_a_run_is_found_by_its_name(inspect, target):
    answer = inspect(target, "--json")
    assert answer.code == 0
    told = json.loads(answer.out)
    assert told["schema"] == 2
    assert told["verdict"] == "healthy"
    assert told["step"] == 30
    assert set(told["layers"][0]) >= {
        *("name", "kind", "depth", "weight_grad_norm", "input_grad_norm", "weight_rms"),
        *("update_ratio", "dead_fraction", "saturated_fraction"),
    }
    assert {"code", "severity", "layer", "evidence", "threshold", "message", "try"} <= set(
        told["findings"][0]
    )


def test_without_a_target_a_fresh_model_is_looked_at(inspect):
    answer = inspect(*SICK)
    assert answer.code == 0
    assert "vanishing" in answer.out
    assert "try  activation=relu init=kaiming" in answer.out


def test_overrides_may_stand_on_either_side_of_a_target(inspect):
    for words in (("latest", "examples=64"), ("examples=64", "latest")):
        answer = inspect(*words, "--probe", "signals,histograms", "--json")
        told = json.loads(answer.out)
        assert told["examples"] == 64
        assert "histograms" in told["probes"]


@pytest.mark.parametrize(
    ("words", "level", "code"),
    [
        (SICK, "warning", 3),
        (SICK, "error", 0),
        (SICK, None, 0),
        (("data=mnist5k", "examples=64"), "warning", 0),
    ],
)
def test_fail_on_ends_with_three(inspect, words, level, code):
    options = ("--fail-on", level) if level else ()
    assert inspect(*words, *options, "--json").code == code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--probe", "sharpnes"), "sharpness"),
        (("lastest",), "There is no run 'lastest'"),
        (("latest", "short"), "second target"),
        (("latest", "model=cnn"), "was trained with"),
        (("modl=cnn",), "model"),
        (("latest", "--vary", "activation=relu,tanh"), "would change"),
    ],
)
def test_a_mistake_gets_a_clear_error(inspect, words, said):
    answer = inspect(*words)
    assert answer.code == 2
    assert said in answer.message
    assert answer.out == ""


def test_variants_are_shown_side_by_side(inspect):
    answer = inspect("data=mnist5k", "model=deep_mlp", "examples=64", "--vary",
                     "activation=relu,sigmoid")  # fmt: skip
    assert answer.code == 0
    assert "activation=relu" in answer.out
    assert "activation=sigmoid" in answer.out


def test_pictures_are_drawn_where_they_belong(inspect, runs):
    answer = inspect("latest", "--plot")
    assert answer.code == 0
    picture = runs / "20260101-short" / "plots" / "gradient_map.png"
    assert picture.is_file()
    assert f" {picture}\n" in answer.err  # on one line, to be copied


def test_pictures_of_different_fresh_models_are_all_kept(inspect, runs):
    small = ("data=mnist5k", "examples=64", "model.hidden=[8]", "--plot")
    for words in ((), ("seed=1",), ("activation=tanh",), ("seed=1",)):
        assert inspect(*small, *words).code == 0
    home = runs / "plots"
    names = sorted(path.name.rpartition("-")[0] for path in home.glob("*hidden*"))
    common = "data=mnist5k_model.hidden=_8"
    assert names == [common, f"{common}_activation=tanh", f"{common}_seed=1"]
    assert all((path / "depth_profile.png").is_file() for path in home.glob("*hidden*"))


def test_python_does_what_the_command_does(runs):
    found = gradcli.inspect("latest", runs_dir=runs)
    assert isinstance(found, gradcli.Inspection)
    assert found.verdict == "healthy"
    fresh = gradcli.inspect(
        "examples=64", data="mnist5k", model="deep_mlp", activation="sigmoid", probe=["histograms"]
    )
    assert fresh.verdict == "vanishing"
    assert len(fresh.probes.found["histograms"]) == 21
    with pytest.raises(gradcli.UserError, match="no 'modle'"):
        gradcli.inspect(modle="cnn")


def test_the_help_names_every_probe():
    from gradcli.cli.inspect import EPILOG
    from gradcli.probes.registry import selectable_probes

    assert EPILOG.partition("Probes: ")[2].partition(". ")[0].split(", ") == list(
        selectable_probes()
    )


def test_next_commands_can_be_pasted(gradcli, tmp_path, monkeypatch):
    """They carry the folder and the package without which the model is not known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADCLI_RUNS", str(tmp_path / "runs"))
    (tmp_path / "configs of mine" / "model").mkdir(parents=True)
    (tmp_path / "configs of mine" / "model" / "line.yaml").write_text(
        "_target_: gradcli.models.LogisticRegression\n"
    )
    paths = ("--config-dir", "configs of mine", "--allow-import", "json")
    answer = gradcli("inspect-gradients", *paths, "data=mnist5k", "model=line", "examples=64")
    assert answer.code == 0, answer.err
    commands = answer.out.partition("\nnext ")[2].strip().splitlines()
    assert len(commands) == 2
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "gradcli"
        assert " ".join(words).count(" ".join(paths)) == 1
        small = ["max_steps=1"] if words[1] == "train" else ["examples=64"]
        assert gradcli(*words[1:], *small).code == 0
