"""Values that are not finite, through the real commands: shown, never averaged, never a success."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch

import gradcli as library
from gradcli.runs import load_checkpoint, load_run
from gradcli.workflows.recorded_training import train_and_record

SMALL = ("data=mnist5k", "model.hidden=[16]", "schedule=constant")
BREAKS = {
    "weights": ("optimizer=sgd", "optimizer.lr=1e39", "max_steps=1"),
    "weights before a step": ("optimizer=sgd", "optimizer.lr=1e39", "max_steps=3"),
    "loss": ("optimizer=sgd", "optimizer.lr=1e25", "max_steps=4", "clip=none"),
    "score": ("optimizer=sgd", "optimizer.lr=1e30", "max_steps=1", "clip=none"),
}


def only_in(folder):
    (path,) = folder.glob("2*")
    return path


def assert_all_json_is_strict(folder, strict_json):
    """Parse every JSON file below a folder; return how many there were."""
    files = [*folder.rglob("*.json")]
    for file in files:
        strict_json(file.read_bytes())
    for log in folder.rglob("*.jsonl"):
        for line in log.read_text().splitlines():
            strict_json(line)
        files.append(log)
    return len(files)


@pytest.mark.parametrize("case", BREAKS)
def test_a_run_that_broke_ends_as_diverged(case, gradcli, runs_dir, strict_json):
    answer = gradcli("train", *SMALL, *BREAKS[case], "--json")
    assert answer.code == 4, answer.err
    told = strict_json(answer.out)
    assert told["status"] == "diverged"
    assert told["test_accuracy"] == "nan"
    (found,) = [one for one in told["findings"] if one["code"] == "non-finite"]
    if found["evidence"]["step"] == 1:  # there is nothing before it
        assert "Neither the loss nor" not in found["message"]
    run = load_run(only_in(runs_dir))
    assert run.status == "diverged"
    assert run.evals == () or all(math.isfinite(one.loss) for one in run.evals)
    for words in (
        ("runs", "list", "--json"),
        ("runs", "show", "latest", "--json"),
        ("inspect-gradients", "latest", "--json"),
    ):
        strict_json(gradcli(*words).out)
    assert assert_all_json_is_strict(run.path, strict_json) >= 5
    shown = gradcli("runs", "show", "latest").out
    assert shown.startswith("diverged")
    assert "not finite: first in" in shown
    assert not (run.path / "checkpoints" / "best.pt").exists()
    checkpoint = load_checkpoint(run.path)
    values = [] if checkpoint is None else checkpoint["model"].values()
    assert all(bool(torch.isfinite(value).all()) for value in values)
    assert gradcli("train", "--resume", str(run.path)).code == 2


@pytest.mark.parametrize("option", [(), ("--check",), ("--probe", "noise,sharpness")])
def test_a_fresh_model_that_overflows_is_told_in_strict_json(option, gradcli, strict_json):
    words = ("data=mnist5k", "init=normal", "init.std=1e30", *option, "--json")
    told = strict_json(gradcli("inspect-gradients", *words).out)
    assert [one["code"] for one in told["findings"]][:1] == ["initial-scale"]


def test_two_runs_that_broke_are_compared_in_strict_json(gradcli, runs_dir, strict_json):
    for rate in ("1e25", "1e30"):
        gradcli(
            "train", *SMALL, "optimizer=sgd", f"optimizer.lr={rate}", "max_steps=4", "clip=none"
        )
    first, second = sorted(path.name for path in runs_dir.glob("2*"))
    told = strict_json(gradcli("runs", "diff", first, second, "--json").out)
    assert any("optimizer.lr" in str(one) for one in told.values())


def test_the_end_names_the_layer_and_the_step(gradcli, runs_dir):
    answer = gradcli("train", *SMALL, *BREAKS["weights"])
    text = " ".join(answer.out.split())
    assert "not finite: first in hidden1.weight, update, step 1" in text
    assert "`hidden1.weight` after the update, although the gradients had been finite" in text


def test_a_checkpoint_that_is_due_meanwhile_is_not_made_of_such_weights(runs_dir):
    """Due at every flush, and so also between the update that broke them and the next step."""

    class Watches(library.Recorder):
        def begin(self, info, path, settings):
            self.path, self.saved = Path(path), []

        def record(self, record):
            self.saved.append(load_checkpoint(self.path))

    watch = Watches()
    words = (*SMALL, *BREAKS["weights before a step"], "checkpoint.seconds=0")
    library.train(*words, runs_dir=runs_dir, recorders=[watch])
    assert watch.saved
    assert [*watch.saved, load_checkpoint(watch.path)] == [None] * (len(watch.saved) + 1)


def test_exports_hold_what_is_not_finite_alike(gradcli, runs_dir, strict_json):
    """A row of the step that met it: words in CSV, strings in JSON; empty or absent is missing."""
    gradcli("train", *SMALL, *BREAKS["loss"])
    rows = list(csv.DictReader(gradcli("runs", "export").out.splitlines()))
    lines = [strict_json(one) for one in gradcli(*EXPORT_JSON).out.splitlines()]
    assert [*rows[0]] == [*lines[0]]
    as_numbers = [{key: float(value) for key, value in row.items()} for row in rows]
    assert repr(as_numbers) == repr(
        [{key: float(value) for key, value in line.items()} for line in lines]
    )
    broken = [value for value in lines[-1].values() if isinstance(value, str)]
    assert broken
    assert set(broken) <= {"nan", "inf", "-inf"}
    assert not any(isinstance(value, str) for value in lines[0].values())


EXPORT_JSON = ("runs", "export", "--format", "jsonl")


def test_one_broken_seed_of_a_comparison_is_not_averaged(
    gradcli, runs_dir, monkeypatch, strict_json, trials_in_this_process
):
    """It is counted as diverged, and the scores are those of the others and say how many."""

    def spoilt(composed, dataset, trainer, *arguments, **options):
        config = composed.config
        if (config.optimizer.option, config.seed) == ("sgd", broken_seed):
            with torch.no_grad():
                trainer.model.output.bias[0] = math.nan
        return train_and_record(composed, dataset, trainer, *arguments, **options)

    broken_seed = 2
    monkeypatch.setattr("gradcli.workflows.train.train_and_record", spoilt)
    words = ("--optimizers", "sgd,adam", "--seeds", "3", "--lrs", "0.01,1e39")
    answer = gradcli(
        "compare-optimizers", *words, *SMALL, "max_steps=1", "protocol.widenings=0", "--json"
    )
    told = strict_json(answer.out)
    arms = {arm["arm"]: arm for arm in told["ranking"]}
    for arm in arms.values():
        measured = [
            trial
            for trial in told["trials"]
            if trial["arm"] == arm["arm"] and trial["stage"] == "measuring"
        ]
        scores = [one["test_accuracy"] for one in measured if one["status"] == "finished"]
        assert arm["test_accuracy"]["mean"] == pytest.approx(sum(scores) / len(scores))
        assert len(measured) == 3
        assert arm["diverged"] == len(measured) - len(scores)
    assert (arms["sgd"]["diverged"], arms["adam"]["diverged"]) == (1, 0)
    for trial in told["trials"]:  # at this learning rate, the only update breaks the weights
        assert (trial["status"] == "diverged") == (
            trial["lr"] > 1 or (trial["arm"], trial["seed"]) == ("sgd", broken_seed)
        )
        assert (trial["val_accuracy"] == "nan") == (trial["status"] == "diverged")
    path = only_in(runs_dir)
    assert assert_all_json_is_strict(path, strict_json) > 10
    strict_json(gradcli("runs", "show", "--json").out)
    strict_json(gradcli("runs", "list", "--json").out)
    for what in ("steps", "trials"):
        for line in gradcli(*EXPORT_JSON, "--what", what).out.splitlines():
            strict_json(line)
    assert "diverged" in gradcli("runs", "show").out


def test_a_parser_that_is_strict(strict_json):
    for text in ("NaN", "[Infinity]", '{"a": -Infinity}', '{"a": 1, "a": 2}'):
        with pytest.raises(AssertionError):
            strict_json(text)
    assert strict_json('{"a": [1, null]}') == {"a": [1, None]}
