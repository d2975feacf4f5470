"""What a run directory promises: everything comes back, and nothing torn is ever read."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gradcli.errors import DamagedFileWarning, UserError
from gradcli.records import (
    DataInfo,
    EvalRecord,
    FaultRecord,
    LayerInfo,
    LayerRecord,
    ParameterInfo,
    RunInfo,
    StepRecords,
    norm_by_layer,
)
from gradcli.runs import (
    RunWriter,
    create_run_directory,
    find_run,
    list_any,
    list_runs,
    load_checkpoint,
    load_run,
)
from gradcli.runs.export import step_table, write_csv, write_jsonl
from gradcli.system.locks import RunLock

LAYERS = (
    LayerInfo(
        "hidden1",
        "Linear",
        0,
        (ParameterInfo("hidden1.weight", (4, 3)), ParameterInfo("hidden1.bias", (4,))),
    ),
    LayerInfo("output", "Linear", 1, (ParameterInfo("output.weight", (2, 4)),)),
)
INFO = RunInfo(
    run="",
    name="mine",
    data=DataInfo("mnist5k", 4000, 500, 500, "abc", (1, 28, 28), 10),
    model="mlp",
    model_size=24,
    optimizer="adam",
    learning_rate=0.002,
    schedule="cosine",
    clip="norm 1.0",
    activation="relu",
    device="cpu",
    threads=2,
    batch_size=128,
    epochs=3,
    total_steps=96,
    start_step=0,
    layers=LAYERS,
)


def steps(first: int, count: int) -> StepRecords:
    norms = np.arange(first, first + count)[:, None] * np.array([1.0, 2.0, 1e-20])
    return StepRecords(
        step=np.arange(first, first + count),
        epoch=np.ones(count, dtype=np.int32),
        loss=np.linspace(2, 1, count),
        learning_rate=np.full(count, 0.002),
        grad_norm_before_clip=np.sqrt(np.square(norms).sum(axis=1)),
        clip_coefficient=np.full(count, 0.5),
        parameter_grad_norm_before_clip=norms,
        parameter_grad_norm_after_clip=norms * 0.5,
        phase_seconds={"data": 0.1},
    )


EVALUATION = EvalRecord(10, 1, "val", math.nan, 0.5, math.inf, 1.5, 1.0)
PROBE = LayerRecord(1, (1.0, 2.0), (math.nan, 1e-3), (0.25, 1 / 3))
FAULT = FaultRecord(11, 1, "backward", "output", math.inf, (3, 1, 4))


@pytest.fixture
def writer(tmp_path):
    writer = RunWriter(create_run_directory(tmp_path / "runs", "mine"), "seed: 0\n", {"argv": []})
    writer.begin(INFO, {})
    yield writer
    writer.close()


def test_records_come_back(writer):
    for record in (steps(1, 6), steps(7, 4), PROBE, EVALUATION, FAULT):
        writer.write(record)
    writer.set_status("diverged")
    run = load_run(writer.directory)
    assert run.steps.step.tolist() == list(range(1, 11))
    np.testing.assert_allclose(
        run.steps.parameter_grad_norm_before_clip[3], [4.0, 8.0, 4e-20], rtol=1e-6
    )
    assert repr(run.evals) == repr((EVALUATION,))
    assert run.layer_records[0].input_grad_norm == pytest.approx(PROBE.input_grad_norm, rel=1e-8)
    assert math.isnan(run.layer_records[0].update_ratio[0])
    assert run.fault == FAULT
    assert run.info == INFO
    assert run.status == "diverged"
    assert run.config == "seed: 0\n"


def test_every_file_is_plain_json(writer):
    for record in (steps(1, 2), PROBE, EVALUATION, FAULT):
        writer.write(record)
    writer.note(seconds_total=math.nan)
    writer.set_status("diverged")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    for path in writer.directory.glob("*.json*"):
        text = path.read_text()
        for line in [text] if path.suffix == ".json" else text.splitlines():
            json.loads(line, parse_constant=refuse)


@pytest.mark.parametrize("torn", [1, 17, 55])
def test_a_torn_last_row_is_dropped(writer, torn):
    writer.write(steps(1, 4))
    path = writer.directory / "steps.bin"
    row = path.read_bytes()[-path.stat().st_size // 4 :]
    with path.open("ab") as file:  # as a process leaves it that is killed now
        file.write(row[:torn])
    assert load_run(writer.directory).steps.step.tolist() == [1, 2, 3, 4]


def test_torn_last_lines_are_dropped(writer):
    writer.write(EVALUATION)
    writer.write(PROBE)
    for name in ("evals.jsonl", "probes.jsonl"):
        with (writer.directory / name).open("a") as file:
            file.write('{"step": 2, "ep')
    run = load_run(writer.directory)
    assert len(run.evals) == len(run.layer_records) == 1


def test_any_prefix_of_the_logs_can_be_read_and_is_named(writer):
    writer.write(steps(1, 2))
    writer.write(steps(3, 3))
    writer.write(EVALUATION)
    for name in ("steps.bin", "evals.jsonl"):
        whole = (writer.directory / name).read_bytes()
        for size in range(len(whole) - 1, -1, -7):
            (writer.directory / name).write_bytes(whole[:size])
            run = load_run(writer.directory)
            with pytest.warns(DamagedFileWarning, match=f"{name} does not match the checksum"):
                assert (len(run.steps), len(run.evals)) in [(2, 1), (0, 1), (5, 0)]
        (writer.directory / name).write_bytes(whole)
    assert load_run(writer.directory).damage == ()


def test_resuming_cuts_the_logs_to_the_checkpoint(writer):
    writer.write(steps(1, 5))
    writer.write(EVALUATION)
    writer.save_checkpoint({"tensor": torch.arange(3)})
    writer.write(steps(6, 5))
    writer.write(replace(EVALUATION, step=20))
    writer.write(PROBE)
    writer.close()
    checkpoint = load_checkpoint(writer.directory)
    again = RunWriter(writer.directory, "seed: 0\n", {}, earlier=load_run(writer.directory).state)
    again.begin(INFO, checkpoint["log_bytes"])
    run = load_run(writer.directory)
    assert checkpoint["tensor"].tolist() == [0, 1, 2]
    assert run.steps.step.tolist() == [1, 2, 3, 4, 5]
    assert [record.step for record in run.evals] == [10]
    assert run.layer_records == ()
    again.write(steps(6, 2))
    assert load_run(writer.directory).steps.step.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert len(load_run(writer.directory).state["resumed"]) == 1
    again.close()


def test_checkpoints_hold_tensors_and_plain_values_only(writer):
    writer.save_checkpoint({"object": io.StringIO("anything")})
    with pytest.raises(UserError, match=r"last.pt holds code, _io.StringIO"):
        load_checkpoint(writer.directory)


def test_a_run_is_locked_while_its_process_lives(writer):
    with pytest.raises(UserError, match="Another process"):
        RunWriter(writer.directory, "", {})
    assert load_run(writer.directory).status == "running"


def test_a_run_whose_process_is_gone_is_lost_and_can_be_taken_over(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from gradcli.runs import RunWriter\n"
        "writer = RunWriter(Path(sys.argv[1]), '', {}); os.kill(os.getpid(), 9)"
    )
    directory = create_run_directory(tmp_path, "killed")
    subprocess.run([sys.executable, "-c", program, str(directory)], check=False)
    assert load_run(directory).status == "lost"
    RunWriter(directory, "", {}).close()


@pytest.mark.parametrize(
    "left", ["nothing", "half a config", "a run", "a note of the user's", "a lock held", "a moment"]
)
def test_what_was_killed_before_it_was_a_run_is_swept_later(tmp_path, left):
    directory = create_run_directory(tmp_path, "killed")
    (directory / "checkpoints").mkdir()
    (directory / ".config.yaml.abcd1234").write_text("epo" if left == "half a config" else "")
    lock = RunLock(directory)
    if left != "a lock held":
        lock.release()
    if left == "a run":
        (directory / "run.json").write_text("{")
    if left == "a note of the user's":
        (directory / "checkpoints" / "note.txt").write_text("keep me")
    if left != "a moment":
        os.utime(directory, (0, 0))
    create_run_directory(tmp_path, "next")
    assert directory.exists() == (left not in ("nothing", "half a config"))
    lock.release()


@pytest.mark.parametrize("torn", [24, 20, 48])
def test_zeros_that_a_crash_left_in_place_of_checksums_are_no_damage(writer, torn):
    writer.write(steps(1, 6))
    writer.write(steps(7, 4))
    path = writer.directory / "checksums.bin"
    data = path.read_bytes()
    path.write_bytes(data[:24] + data[24 : 48 - min(torn, 24)] + bytes(torn))
    run = load_run(writer.directory)
    assert run.steps.step.tolist() == list(range(1, 7))
    assert run.damage == ()


def test_names_are_on_the_disk_before_anything_that_rests_on_them(tmp_path, monkeypatch):
    """A checkpoint whose name a crash may lose must not be known to `run.json`."""
    synced = []

    def fsync(target):
        number = target if isinstance(target, int) else target.fileno()
        synced.append(Path(f"/proc/self/fd/{number}").readlink())

    monkeypatch.setattr("gradcli.runs.files.os.fsync", fsync)
    directory = create_run_directory(tmp_path / "runs", "mine")
    assert synced == [tmp_path / "runs"]
    with closing(RunWriter(directory, "seed: 0\n", {})) as writer:
        writer.begin(INFO, {})
        assert synced[-1] == directory  # the logs have their names
        synced.clear()
        writer.save_checkpoint({"model": {}})
    places = [path if path.is_dir() else path.parent for path in synced]
    checkpoints, state = directory / "checkpoints", directory
    assert synced.index(checkpoints) < len(places) - places[::-1].index(state) - 1
    assert synced[-1] == state


def test_a_clock_that_jumps_does_not_sweep_what_was_just_created(tmp_path, monkeypatch):
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 864_000)
    assert create_run_directory(tmp_path, "first").exists()
    create_run_directory(tmp_path, "second")
    assert len(list(tmp_path.iterdir())) == 2


def test_names_never_collide(tmp_path):
    names = {create_run_directory(tmp_path, "same").name for _ in range(50)}
    assert len(names) == 50


def test_an_impossible_runs_directory_is_refused_with_a_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        create_run_directory(tmp_path / "file", "x")


def test_runs_are_found_by_name_part_and_latest(tmp_path):
    names = ["20260101T000000Z-a-aaaa", "20260102T000000Z-b-bbbb", "20260102T000001Z-c-cccc"]
    for name in names:
        (tmp_path / name).mkdir()
        RunWriter(tmp_path / name, "", {}).close()
    (tmp_path / "no run").mkdir()
    assert [run.name for run in list_runs(tmp_path)] == names[::-1]
    assert find_run("latest", tmp_path).name == names[2]
    assert find_run("20260101", tmp_path).name == names[0]
    assert find_run("bbbb", tmp_path).name == names[1]
    assert find_run(str(tmp_path / names[0]), tmp_path / "elsewhere").name == names[0]
    with pytest.raises(UserError, match="2 runs"):
        find_run("20260102", tmp_path)
    with pytest.raises(UserError, match="no run") as error:
        find_run("20260101T000000Z-a-aaab", tmp_path)
    assert error.value.choices[0] == names[0]
    with pytest.raises(UserError, match="no runs"):
        find_run("latest", tmp_path / "nowhere")
    with pytest.raises(UserError, match="not a run directory"):
        load_run(tmp_path / "no run")


def test_columns_and_exports_agree(writer):
    writer.write(steps(1, 4))
    broken = steps(5, 1)
    broken.parameter_grad_norm_before_clip[0, 1] = math.nan
    broken.loss[0] = math.inf
    writer.write(broken)
    run = load_run(writer.directory)
    columns = run.columns()
    assert {"step", "loss", "grad_norm_after_clip", "grad_norm_before_clip/hidden1"} <= set(columns)
    np.testing.assert_allclose(
        columns["grad_norm_before_clip/hidden1"][:4], np.hypot([1, 2, 3, 4], [2, 4, 6, 8])
    )
    np.testing.assert_allclose(
        columns["grad_norm_after_clip"], run.steps.grad_norm_before_clip * 0.5
    )
    as_csv, as_jsonl = io.StringIO(), io.StringIO()
    write_csv(step_table(run), as_csv)
    write_jsonl(step_table(run), as_jsonl)
    rows = list(csv.DictReader(io.StringIO(as_csv.getvalue())))
    lines = [json.loads(line) for line in as_jsonl.getvalue().splitlines()]
    assert len(rows) == len(lines) == 5
    for name, column in columns.items():
        np.testing.assert_allclose([float(row[name]) for row in rows], column, rtol=1e-7)
        np.testing.assert_allclose([float(line[name]) for line in lines], column, rtol=1e-7)
    assert lines[4]["loss"] == "inf"


def test_norms_by_layer():
    norms = norm_by_layer(np.array([[3.0, 4.0, 1e-30]]), LAYERS)
    np.testing.assert_allclose(norms, [[5.0, 1e-30]])


def test_a_list_opens_one_file_of_each_run(tmp_path, monkeypatch):
    for number in range(5):
        writer = RunWriter(create_run_directory(tmp_path, f"run{number}"), "", {})
        writer.begin(INFO, {})
        writer.write(steps(1, 3))
        writer.set_status("finished", result={"test_accuracy": 0.9, "findings": ["spike"]})
        writer.close()
    opened = []
    whole = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *args, **more: opened.append(self) or whole(self, *args, **more)
    )
    rows = [run.row() for run in list_any(tmp_path)]
    assert [row.findings for row in rows] == [("spike",)] * 5
    assert [path.name for path in opened] == ["run.json"] * 5
    assert [path.parent.name for path in opened] == [row.run for row in rows]


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        (
            FaultRecord(3, 1, "inputs", None, math.nan, (), tensor="x"),
            {"phase": "loss", "layer": None, "step": 3},
        ),
        (
            FaultRecord(3, 1, "update", "hidden1", math.nan, (), tensor="hidden1.weight"),
            {"phase": "forward", "layer": "hidden1", "step": 4},
        ),
        (
            FaultRecord(3, 1, "forward", None, math.nan, (1, 2), after="a", before="b"),
            {"phase": "loss", "layer": None, "step": 3},
        ),
    ],
)
def test_a_fault_is_kept_whole_and_readable_for_earlier_readers(tmp_path, fault, first):
    """They build it from `fault` alone, and know three phases."""
    writer = RunWriter(tmp_path, "", {})
    writer.write(fault)
    writer.close()
    state = json.loads((tmp_path / "run.json").read_text())
    assert set(state["fault"]) == {"step", "epoch", "phase", "layer", "loss", "batch"}
    assert {key: state["fault"][key] for key in first} == first
    assert repr(load_run(tmp_path).fault) == repr(fault)


def test_a_fault_without_details_is_read(tmp_path):
    writer = RunWriter(tmp_path, "", {})
    writer.write(FaultRecord(3, 1, "forward", "hidden1", math.inf, (1,)))
    writer.close()
    state = json.loads((tmp_path / "run.json").read_text())
    del state["fault_details"]
    (tmp_path / "run.json").write_text(json.dumps(state))
    assert load_run(tmp_path).fault == FaultRecord(3, 1, "forward", "hidden1", math.inf, (1,))


def test_a_write_that_a_full_disk_cuts_short_is_an_error_at_once(writer):
    """Nothing of the block stays: rows appended later would not begin where rows begin."""
    resource = pytest.importorskip("resource", reason="limits of a process are of POSIX")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    path = writer.directory / "steps.bin"
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            writer.write(steps(1, 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(path)
    assert path.stat().st_size == 0
    writer.write(steps(1, 100))
    assert load_run(writer.directory).steps.loss.shape == (100,)
