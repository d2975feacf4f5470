"""`GradientMonitor` when two processes train: it records what one process would measure.

The trainings are in `two_processes.py`, which two processes run once for all tests. Here one
process computes what they are compared with, on the whole batch.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, nn

import gradcli
from gradcli import GradientMonitor, load_run
from gradcli.gradients.layers import find_layers

if not (distributed.is_available() and distributed.is_gloo_available()):
    pytest.skip("this build of PyTorch has no gloo", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
SNIPPETS = dict(re.findall(r"```python (\S+)\n(.*?)```", PAGE, re.DOTALL))
SCRIPT = Path(__file__).with_name("two_processes.py")
_spec = importlib.util.spec_from_file_location("two_processes", SCRIPT)
two = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(two)

#: The trainings that end well, with the type of their parameters.
SOUND = {
    "ddp": torch.float32,
    "ddp_of_views": torch.float64,
    "ddp_accumulated": torch.float32,
    "shards": torch.float32,
    "shards_of_doubles": torch.float64,
    "shards_accumulated": torch.float32,
    "copies_of_shards": torch.float32,
}
OBSERVED = [1, 2, 3, 5, 10, 11, 21]


def in_two_processes(words, folder, **environment):
    """Run Python twice, as ranks 0 and 1; return what each printed on stdout and stderr."""
    shared = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment
    running = [
        subprocess.Popen(
            [sys.executable, *(word.format(rank=rank) for word in words)],
            cwd=folder,
            env=shared | {"RANK": str(rank), "WORLD_SIZE": str(two.PROCESSES)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(two.PROCESSES)
    ]
    try:
        printed = [one.communicate(timeout=300) for one in running]
    finally:
        for one in running:
            one.kill()
    assert [one.returncode for one in running] == [0, 0], printed
    return printed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the two processes have left their runs, their results, and what they printed."""
    folder = tmp_path_factory.mktemp("two")
    printed = in_two_processes([str(SCRIPT), "{rank}", str(folder)], folder)
    (folder / "printed.json").write_text(json.dumps(printed))
    return folder


def result(folder, name, rank=0):
    return json.loads((folder / f"{name}-{rank}.json").read_text())


def run_of(folder, name):
    return load_run(result(folder, name)["run"])


def alone(dtype):
    """What plain PyTorch computes on the whole batch: norms (steps, parameters), by name."""
    model = two.build(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=two.LEARNING_RATE)
    rows = {"before": [], "after": [], "weights": [], "moved": []}

    def add(name, tensors):
        rows[name].append([one.detach().double().norm().item() for one in tensors])

    for step in range(1, two.STEPS + 1):
        inputs, labels = two.data(step, dtype)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        add("before", [one.grad for one in model.parameters()])
        nn.utils.clip_grad_norm_(model.parameters(), two.LIMIT)
        add("after", [one.grad for one in model.parameters()])
        old = [one.detach().clone() for one in model.parameters()]
        optimizer.step()
        add("weights", old)
        add("moved", [now - then for now, then in zip(model.parameters(), old, strict=True)])
    return {name: np.array(norms) for name, norms in rows.items()}


def monitored(runs, dtype):
    """The run of one process that trains on the whole batch."""
    model = two.build(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=two.LEARNING_RATE)
    with GradientMonitor(model, optimizer, runs_dir=runs, every=10) as monitor:
        for step in range(1, two.STEPS + 1):
            inputs, labels = two.data(step, dtype)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            monitor.step(loss)
            nn.utils.clip_grad_norm_(model.parameters(), two.LIMIT)
            optimizer.step()
    return load_run(monitor.run)


@pytest.mark.parametrize("name", SOUND)
def test_gradient_norms_are_those_of_one_process_with_the_whole_batch(folder, name):
    steps, expected = run_of(folder, name).steps, alone(SOUND[name])
    total = np.linalg.norm(expected["before"], axis=1)
    # What rounding changes in the passes themselves is relative to the largest gradients.
    close = {"rtol": 1e-6, "atol": 1e-6 * total.max()}
    np.testing.assert_allclose(steps.parameter_grad_norm_before_clip, expected["before"], **close)
    np.testing.assert_allclose(steps.parameter_grad_norm_after_clip, expected["after"], **close)
    np.testing.assert_allclose(steps.grad_norm_before_clip, total, rtol=1e-6)
    assert 0 < (total > two.LIMIT).sum() < two.STEPS
    np.testing.assert_allclose(steps.clip_coefficient, np.minimum(1, two.LIMIT / total), rtol=1e-5)


@pytest.mark.parametrize("name", SOUND)
def test_weights_and_updates_are_those_of_one_process(folder, name):
    records, expected = run_of(folder, name).layer_records, alone(SOUND[name])
    assert [one.step for one in records] == OBSERVED
    rows = [step - 1 for step in OBSERVED]
    weights, moved = (expected[key][rows].reshape(-1, 3, 2) for key in ("weights", "moved"))
    np.testing.assert_allclose(
        [one.weight_norm for one in records], np.linalg.norm(weights, axis=2), rtol=1e-6
    )
    counted = np.ones((3, 2))
    counted[2, 1] = 0  # the bias that is zero at the start
    ratios = np.linalg.norm(moved * counted, axis=2) / np.linalg.norm(weights * counted, axis=2)
    np.testing.assert_allclose([one.update_ratio for one in records], ratios, rtol=1e-4)


def test_a_frozen_layer_that_every_process_has_whole_counts_once(folder):
    run, model = run_of(folder, "shards_beside_a_frozen_layer"), two.build()
    assert not run.steps.parameter_grad_norm_before_clip[:, 4:].any()
    assert run.steps.parameter_grad_norm_before_clip[:, :4].all()
    whole = torch.cat([one.flatten() for one in model[4].parameters()]).norm().item()
    np.testing.assert_allclose([one.weight_norm[2] for one in run.layer_records], whole, rtol=1e-6)


@pytest.mark.parametrize("name", SOUND)
def test_the_first_process_alone_writes_one_run_with_the_names_of_the_model(folder, name):
    run = run_of(folder, name)
    assert result(folder, name, 1)["run"] is None
    assert [path.name for path in (folder / name).iterdir()] == [run.path.name]
    assert run.status == "finished"
    assert run.info.layers == find_layers(two.build())
    assert (run.info.model, run.info.model_size) == ("Sequential", 35 + 6 + 6)


@pytest.mark.parametrize("name", SOUND)
def test_the_loss_is_that_of_the_first_process_which_an_inspection_says(folder, name):
    run = run_of(folder, name)
    losses = [result(folder, name, rank)["losses"] for rank in range(two.PROCESSES)]
    np.testing.assert_allclose(run.steps.loss, losses[0], rtol=1e-6)
    assert not np.allclose(losses[0], losses[1], rtol=1e-2)
    (note,) = gradcli.inspect(run.path).notes
    assert note.startswith("The first of 2 processes recorded the run")


@pytest.mark.parametrize("name", SOUND)
def test_findings_are_those_of_one_process(folder, tmp_path, name):
    found = gradcli.inspect(run_of(folder, name).path)
    assert [one.code for one in found.findings] == ["healthy"]
    expected = gradcli.inspect(monitored(tmp_path, SOUND[name]).path)
    assert [one.code for one in expected.findings] == ["healthy"]
    assert expected.notes == ()


@pytest.mark.parametrize("name", SOUND)
def test_the_set_up_is_that_of_one_process(folder, tmp_path, name):
    several, one = run_of(folder, name).setups, monitored(tmp_path, SOUND[name]).setups
    assert [record.step for record in several] == [record.step for record in one]
    names = ["requires_grad", "call_order", "calls", "without_gradient", "eval_mode", "cut_off"]
    names += ["identical_units", "own_functions", "replaced", "kept_elsewhere", "not_cleared"]
    if "accumulated" not in name:  # these hand over a number, which has no graph
        names += ["loss_path", "output_at", "single_path"]
    for found, expected in zip(several, one, strict=True):
        for key in names:
            assert getattr(found, key) == getattr(expected, key), key
        np.testing.assert_allclose(found.weight_gains, expected.weight_gains, rtol=1e-5)
        assert found.groups[0].parameters == expected.groups[0].parameters
    watched = 0 if "shards" in name else one[-1].updates_watched
    assert several[-1].updates_watched == watched


def test_the_other_process_prints_nothing(folder):
    first, other = json.loads((folder / "printed.json").read_text())
    assert other == ["", ""]
    assert first[0] == ""


def test_what_another_process_made_is_not_put_down_to_the_first_one(folder):
    (warned,) = result(folder, "faulty_ddp")
    assert "At step 4" in warned
    assert "another one may have made it" in warned
    assert "stop_on_fault=True" in warned
    (warned,) = result(folder, "faulty_shards")
    assert "one process cannot repeat" in warned
    assert "every_pass" not in warned
    assert result(folder, "faulty_ddp", 1) == result(folder, "faulty_shards", 1) == []


def test_a_fault_stops_every_process_and_the_one_that_made_it_names_the_place(folder):
    for name in ("stopping_ddp", "stopping_shards"):
        assert all(f"At step {two.FAULTY_STEP}," in result(folder, name, rank) for rank in (0, 1))
    assert "the model's input `input`" in result(folder, "stopping_ddp", 1)


def test_a_pass_in_which_processes_communicate_is_not_repeated(folder):
    (warned,) = result(folder, "communicating")
    assert "one process cannot repeat a pass in which several communicate" in warned


def test_under_ddp_other_processes_may_have_no_monitor_or_close_it(folder):
    for path in result(folder, "closed_by_one"):
        run = load_run(path)
        assert (len(run.steps), run.status) == (two.STEPS, "finished")


def test_evaluating_and_closing_wait_for_nobody(folder):
    run = load_run(result(folder, "shards_closed_in_turn"))
    assert (len(run.steps), len(run.evals), run.status) == (1, 1, "finished")


def test_shards_that_cannot_be_measured_are_refused_by_every_process(folder):
    found = result(folder, "refusals")
    assert found == result(folder, "refusals", 1)
    assert "cannot be watched" in found["every_pass"][0]
    assert "bfloat16" in found["scaler"][1]
    assert "some are not" in found["partly"][0]
    assert "model.reshard()" in found["unsharded"][1]
    assert "fully_shard" in found["tensors"][1]
    assert not (folder / "refusals" / "refused").exists()


@pytest.mark.parametrize("name", SNIPPETS)
def test_scripts_of_the_page(tmp_path, name):
    (tmp_path / name).write_text(SNIPPETS[name])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    first, other = in_two_processes([name], tmp_path, GRADCLI_RUNS="runs", **address)
    assert other[0] == ""
    run = load_run(tmp_path / first[0].strip())
    assert (len(run.steps), run.status) == (20, "finished")
    assert [one.code for one in gradcli.inspect(run.path).findings] == ["healthy"]
