"""Killed, interrupted, resumed: the end is that of a run that nothing happened to."""

from __future__ import annotations

import json
import math
import random
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import gradcli
from gradcli.inspection.run_summary import summarise_run
from gradcli.runs import Run, list_runs, load_checkpoint, load_run
from gradcli.views.train.train_view import QuietView

# Dropout, a schedule and a clipping rule with a memory: all that a checkpoint must carry.
CONFIG = [
    "data=mnist5k",
    "model.hidden=[64,32]",
    "model.dropout=0.2",
    "schedule=warmup_cosine",
    "clip=autoclip",
    "epochs=12",
    "threads=1",
    "monitor.every=5",
    "checkpoint.seconds=0.1",
]


def start(runs_dir: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gradcli", "train", "--no-live", "--runs-dir", str(runs_dir)]
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *words], stdout=pipe, stderr=pipe, text=True)


def wait_for_steps(runs_dir: Path, process: subprocess.Popen[str], count: int) -> Run:
    """Wait until the run has logged `count` steps more than it has now, or the process ended."""

    def logged() -> int:
        return sum(path.stat().st_size for path in runs_dir.glob("*/steps.bin"))

    row = 36 + 8 * 6
    goal = logged() + count * row
    while logged() < goal and process.poll() is None:
        time.sleep(0.005)
    return list_runs(runs_dir)[0]


def outcome(run: Run) -> dict[str, object]:
    """All that a run leaves behind, less the times."""
    state = load_checkpoint(run.path)
    return {
        "weights": {name: value.tolist() for name, value in state["model"].items()},
        "clip": state["clip"]["counts"].tolist(),
        "steps.bin": (run.path / "steps.bin").read_bytes(),
        "probes.jsonl": (run.path / "probes.jsonl").read_text(),
        "evals": [repr(replace(e, seconds=0, seconds_train=0)) for e in run.evals],
        "status": run.status,
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Run:
    process = start(tmp_path_factory.mktemp("undisturbed"), *CONFIG)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return load_run(next(line.split()[-1] for line in out.splitlines() if "run  " in line))


def test_killed_five_times_and_resumed_equals_undisturbed(undisturbed, tmp_path):
    moments = random.Random(7)
    process = start(tmp_path, *CONFIG)
    kills = 0
    for _ in range(5):
        run = wait_for_steps(tmp_path, process, moments.randint(1, 50))
        kills += process.poll() is None
        process.kill()
        process.communicate()
        # Whatever the moment was, everything that reads runs can read it.
        assert run.status in ("lost", "finished")
        assert len(load_run(run.path).steps) >= 0
        process = start(tmp_path, "--resume", str(run.path))
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert kills == 5
    assert outcome(load_run(run.path)) == outcome(undisturbed)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_interrupted_run_is_saved_and_says_how_to_go_on(undisturbed, tmp_path, number, code):
    process = start(tmp_path, *CONFIG)
    run = wait_for_steps(tmp_path, process, 40)
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == code, err
    assert "Traceback" not in err
    assert f"gradcli train --resume {run.path}" in out
    assert load_run(run.path).status == "interrupted"
    resumed = gradcli.train(resume=run.path, runs_dir=tmp_path)
    assert outcome(resumed) == outcome(undisturbed)


def test_resuming_a_finished_run_says_so_and_epochs_extend_it(undisturbed, tmp_path):
    short = gradcli.train(*CONFIG[:-4], "schedule=constant", "epochs=1", "threads=1",
                          runs_dir=tmp_path)  # fmt: skip
    with pytest.raises(gradcli.UserError, match="has already finished") as error:
        gradcli.train(resume=short.path, runs_dir=tmp_path)
    assert error.value.hint == f"gradcli train --resume {short.path} epochs=2"
    with pytest.raises(gradcli.UserError, match="Only epochs=N") as error:
        gradcli.train("optimizer.lr=1", resume=short.path, runs_dir=tmp_path)
    anew = error.value.hint.split()
    assert anew[:2] == ["gradcli", "train"]
    assert {"--runs-dir", "schedule=constant", "epochs=1", "optimizer.lr=1"} <= set(anew)
    longer = gradcli.train("epochs=2", resume=short.path, runs_dir=tmp_path)
    whole = gradcli.train(*CONFIG[:-4], "schedule=constant", "epochs=2", "threads=1",
                          runs_dir=tmp_path)  # fmt: skip
    for name, value in load_checkpoint(whole.path)["model"].items():
        assert torch.equal(value, load_checkpoint(longer.path)["model"][name])
    assert [e.split for e in longer.evals] == ["val", "test", "val", "test"]


def test_the_hint_for_a_run_that_ended_at_max_steps_trains_longer(tmp_path):
    run = gradcli.train("data=mnist5k", "model=logreg", "max_steps=2", "threads=1",
                        runs_dir=tmp_path)  # fmt: skip
    with pytest.raises(gradcli.UserError, match="More epochs do not extend it") as error:
        gradcli.train("epochs=9", resume=run.path, runs_dir=tmp_path)
    overrides = shlex.split(error.value.hint)[4:]  # after --runs-dir and its value
    assert overrides == ["data=mnist5k", "model=logreg", "threads=1", "epochs=9", "max_steps=null"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals another process, as POSIX can")
@pytest.mark.parametrize("end", ["SIGINT", "SIGKILL"])
def test_an_extended_run_shows_no_test_accuracy_of_earlier_weights(tmp_path, end):
    short = gradcli.train(*CONFIG[:-4], "schedule=constant", "epochs=1", "threads=1",
                          runs_dir=tmp_path)  # fmt: skip
    assert summarise_run(short).test_score == short.evals[-1].score == short.row().test_score
    process = start(tmp_path, "--resume", str(short.path), "epochs=500")
    wait_for_steps(tmp_path, process, 40)
    process.send_signal(getattr(signal, end))
    process.communicate()
    longer = load_run(short.path)
    assert longer.status == ("interrupted" if end == "SIGINT" else "lost")
    assert math.isnan(summarise_run(longer).test_score)
    assert math.isnan(longer.row().test_score)


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path):
    process = start(tmp_path, *CONFIG[:-1], "checkpoint.seconds=1000", "max_steps=20")
    run = wait_for_steps(tmp_path, process, 1)
    process.kill()
    process.communicate()
    if load_checkpoint(run.path) is None:
        assert load_run(run.path).status == "lost"
        resumed = gradcli.train(resume=run.path, runs_dir=tmp_path)
        assert resumed.steps.step.tolist() == list(range(1, 21))


def test_a_run_at_work_cannot_be_resumed(tmp_path):
    process = start(tmp_path, *CONFIG, "epochs=500")
    run = wait_for_steps(tmp_path, process, 1)
    try:
        with pytest.raises(gradcli.UserError, match="Another process"):
            gradcli.train(resume=run.path, runs_dir=tmp_path)
        assert load_run(run.path).status == "running"
    finally:
        process.kill()
        process.communicate()


def test_an_extension_reports_a_jump_of_the_learning_rate(tmp_path):
    words = (*CONFIG[:-4], "epochs=1", "threads=1")
    cosine = gradcli.train(*words, "schedule=cosine", runs_dir=tmp_path)
    constant = gradcli.train(*words, "schedule=constant", runs_dir=tmp_path)

    class Notes(QuietView):
        def __init__(self):
            self.notes = []

        def note(self, text):
            self.notes.append(text)

    view, calm = Notes(), Notes()
    last = float(cosine.steps.learning_rate[-1])
    longer = gradcli.train("epochs=2", resume=cosine.path, runs_dir=tmp_path, view=view)
    gradcli.train("epochs=2", resume=constant.path, runs_dir=tmp_path, view=calm)
    (note,) = view.notes
    assert note.startswith(f"The learning rate jumps from {last:.3g} to ")
    assert note.endswith("schedule=cosine now runs over 2 epochs.")
    after = float(note.split(" to ")[1].split(" after step")[0])
    beginning = cosine.info.total_steps
    assert after == pytest.approx(float(longer.steps.learning_rate[beginning]), rel=0.1)
    assert calm.notes == []


def test_an_extended_run_keeps_the_command_of_each_part(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["gradcli", "train", "first"])
    words = (*CONFIG[:-4], "schedule=constant", "epochs=1", "threads=1")
    run = gradcli.train(*words, runs_dir=tmp_path)
    steps = run.info.total_steps
    for part, epochs in (("second", 2), ("third", 3)):
        monkeypatch.setattr("sys.argv", ["gradcli", "train", part])
        run = gradcli.train(f"epochs={epochs}", resume=run.path, runs_dir=tmp_path)
    # At the top level stands what the run was begun with.
    assert run.state["argv"] == ["gradcli", "train", "first"]
    assert run.overrides == list(words)
    assert run.state["parts"] == [
        {"argv": ["gradcli", "train", "first"], "overrides": list(words), "start_step": 0},
        {"argv": ["gradcli", "train", "second"], "overrides": ["epochs=2"], "start_step": steps},
        {"argv": ["gradcli", "train", "third"], "overrides": ["epochs=3"], "start_step": 2 * steps},
    ]


def test_a_run_from_before_parts_were_kept_is_resumed_with_what_it_tells(tmp_path):
    words = (*CONFIG[:-4], "schedule=constant", "epochs=1", "threads=1")
    run = gradcli.train(*words, runs_dir=tmp_path)
    state = json.loads((run.path / "run.json").read_text())
    del state["parts"]
    (run.path / "run.json").write_text(json.dumps(state))
    run = gradcli.train("epochs=2", resume=run.path, runs_dir=tmp_path)
    assert [part["overrides"] for part in run.state["parts"]] == [list(words), ["epochs=2"]]
