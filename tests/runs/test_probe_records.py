"""Probes of a run in its directory: they come back as they were, and a resumption cuts them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from gradcli.records import (
    DataInfo,
    LayerInfo,
    LayerRecord,
    ParameterGroup,
    ParameterInfo,
    ProbeRecord,
    RunInfo,
    SetupRecord,
    TensorRange,
    ValidationRecord,
)
from gradcli.runs import (
    RunWriter,
    create_run_directory,
    load_checkpoint,
    load_run,
)

INFO = RunInfo(
    run="",
    name="",
    data=DataInfo("mnist5k", 4000, 500, 500, "abc", (1, 28, 28), 10),
    model="mlp",
    model_size=8,
    optimizer="adam",
    learning_rate=0.002,
    schedule="cosine",
    clip="",
    activation="relu",
    device="cpu",
    threads=1,
    batch_size=128,
    epochs=3,
    total_steps=96,
    start_step=0,
    layers=(LayerInfo("output", "Linear", 0, (ParameterInfo("output.weight", (2, 4)),)),),
)
LAYER = LayerRecord(1, (1.0,), (math.nan,), (0.25,))
NOISE = ProbeRecord(
    step=32,
    probe="noise",
    value=1 / 3,
    low=0.0,
    high=math.inf,
    seconds=1.25,
    passes=250.5,
    result={"examples": 256, "noise_scale": {"low": 0.0, "high": math.inf}, "layers": [math.nan]},
)
SETUP = SetupRecord(
    step=0,
    groups=(
        ParameterGroup((0, 2), 0.1, weight_decay=0.0, momentum=0.9),
        ParameterGroup((1,), math.inf, epsilon=1e-8, decoupled=True),
    ),
    requires_grad=(True, False, True),
    call_order=(0,),
    calls=(2,),
    eval_mode=("norm",),
    inputs=TensorRange((8, 3), 0.5, 1.0, -1.0, math.inf, whole=True),
    outputs=TensorRange((8, 10), 0.1, 0.2, 0.0, 1.0),
    output_sums=(1.0, 1.0),
    output_grad_norm=0.9,
    loss_path=("NllLoss", "LogSoftmax", "Softmax", "Addmm"),
    output_at=3,
    without_gradient=(1,),
    weight_gains=(0.58,),
    identical_units=(0,),
    dropout=("drop", 0.5),
    own_functions=(("Round", 0), ("Swish", -1)),
    updates_watched=3,
    not_cleared=2,
)
REFUSED = ProbeRecord(32, "hidden-states", refused="the model has none")


@pytest.fixture
def writer(tmp_path):
    writer = RunWriter(create_run_directory(tmp_path, "mine"), "seed: 0\n", {})
    writer.begin(INFO, {})
    yield writer
    writer.close()


def test_probe_records_come_back_beside_those_of_layers(writer):
    for record in (LAYER, NOISE, LAYER, REFUSED):
        writer.write(record)
    run = load_run(writer.directory)
    assert repr(run.probe_records) == repr((NOISE, REFUSED))
    assert [record.step for record in run.layer_records] == [1, 1]


def test_validations_come_back_and_are_no_evaluations(writer):
    made = [
        ValidationRecord(11, 500, 0.9, 1.5),
        ValidationRecord(21, 500, math.nan, 2.5),
    ]
    for record in (made[0], LAYER, made[1], NOISE):
        writer.write(record)
    run = load_run(writer.directory)
    assert repr(run.validations) == repr(tuple(made))
    assert run.evals == ()
    assert not run.damage


def test_a_run_without_probes_has_no_records(writer):
    assert load_run(writer.directory).probe_records == ()
    (writer.directory / "probes.jsonl").unlink()
    assert load_run(writer.directory).probe_records == ()


def test_the_last_setup_comes_back(writer):
    assert load_run(writer.directory).setup is None
    for record in (LAYER, SETUP, NOISE, replace(SETUP, step=10, inputs=None)):
        writer.write(record)
    # NaN differs from itself, so the texts are compared.
    assert repr(load_run(writer.directory).setup) == repr(replace(SETUP, step=10, inputs=None))
    writer.write(SETUP)
    assert repr(load_run(writer.directory).setup) == repr(SETUP)


def test_lines_are_plain_json(writer):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    writer.write(NOISE)
    (line,) = (writer.directory / "probes.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=refuse)["high"] == "inf"


def test_a_torn_last_line_is_dropped(writer):
    writer.write(NOISE)
    path = writer.directory / "probes.jsonl"
    whole = path.read_bytes()
    for size in range(len(whole) - 1, len(whole) - 40, -13):
        path.write_bytes(whole + whole[:size])  # as a process leaves it that is killed now
        assert [one.probe for one in load_run(writer.directory).probe_records] == ["noise"]


def test_resuming_cuts_probes_to_the_checkpoint(writer):
    writer.write(NOISE)
    writer.save_checkpoint({})
    writer.write(replace(NOISE, step=64))
    writer.write(REFUSED)
    writer.close()
    kept = load_checkpoint(writer.directory)["log_bytes"]
    again = RunWriter(writer.directory, "", {}, earlier=load_run(writer.directory).state)
    again.begin(INFO, kept)
    assert [one.step for one in load_run(writer.directory).probe_records] == [32]
    again.close()
