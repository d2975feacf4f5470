"""Inspections of runs in every state: what they say, and that it agrees with the records."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from torch import nn

import gradcli
from gradcli.errors import UserError
from gradcli.inspection.assemble import inspect_run
from gradcli.records import norm_by_layer
from gradcli.runs import load_run


@pytest.fixture(scope="module")
def run(train):
    return load_run(train("max_steps=60"))


@pytest.fixture(scope="module")
def inspection(run):
    return inspect_run(run, str(run.path))


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the run, to be broken."""
    return load_run(shutil.copytree(run.path, tmp_path / "copy"))


def rewrite(run, **changes):
    """Change what run.json says, and open the run again."""
    (run.path / "run.json").write_text(json.dumps({**run.state, **changes}))
    return load_run(run.path)


def test_an_inspection_agrees_with_the_records(run, inspection):
    before = norm_by_layer(run.steps.parameter_grad_norm_before_clip, run.layers)
    after = norm_by_layer(run.steps.parameter_grad_norm_after_clip, run.layers)
    assert (inspection.kind, inspection.step, inspection.status) == ("run", 60, "finished")
    assert inspection.verdict == "healthy"
    assert inspection.loss == pytest.approx(np.median(run.steps.loss[-6:]))
    for index, layer in enumerate(inspection.layers):
        assert layer.name == run.layers[index].name
        assert layer.weight_grad_norm == layer.before_clip.last
        assert layer.before_clip.last == pytest.approx(np.median(before[-6:, index]))
        assert layer.after_clip.first == pytest.approx(np.median(after[:6, index]))
        share = np.mean(after[:, index] < before[:, index] * (1 - 1e-6))
        assert layer.clipped_fraction == pytest.approx(share)
        ratios = [record.update_ratio[index] for record in run.layer_records]
        assert layer.update_ratio == pytest.approx(np.median(ratios))
        inputs = [record.input_grad_norm[index] for record in run.layer_records]
        assert layer.input_grad_norm == pytest.approx(np.median(inputs))
        assert math.isnan(layer.dead_fraction)
    assert inspection.clipped_fraction == pytest.approx(np.mean(run.steps.clip_coefficient < 1))


def test_the_slope_along_the_depth_is_that_of_least_squares(inspection):
    norms = [layer.weight_grad_norm for layer in inspection.layers]
    slope = np.polyfit(range(len(norms)), np.log10(norms), 1)[0]
    assert inspection.depth_slope.decades == pytest.approx(slope)


def test_it_says_what_records_alone_cannot_test(inspection):
    assert set(inspection.not_tested) == {"dead-units", "saturated", "wrong-gradient"}
    assert not inspection.probes.costs


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("running", "The run is lost: its process died"),  # nobody holds its lock
        ("interrupted", "The run was interrupted after 60 steps."),
        ("failed", "The run failed after 60 steps: the disk is full"),
    ],
)
def test_how_a_run_ended_comes_first(copied, status, words):
    broken = rewrite(copied, status=status, error="the disk is full")
    found = inspect_run(broken, "copy")
    assert found.notes[0].startswith(words)
    assert found.history is not None
    assert found.verdict == "healthy"


def test_a_running_run_is_inspected_as_it_stands(copied):
    from gradcli.system.locks import RunLock

    going = rewrite(copied, status="running")
    lock = RunLock(going.path)
    try:
        found = inspect_run(going, "copy")
    finally:
        lock.release()
    assert found.status == "running"
    assert found.notes == ("The run is still going: 60 steps so far.",)
    assert found.convergence.last_loss < found.convergence.first_loss / 2


def test_torn_logs_are_read_up_to_where_they_are_whole(copied):
    log = copied.path / "steps.bin"
    log.write_bytes(log.read_bytes()[:-7])
    (copied.path / "checksums.bin").unlink()  # with it, the whole block would be left out
    found = inspect_run(rewrite(copied, status="running"), "copy")
    assert found.history.last_step[-1] == 59


def test_a_run_without_a_step_is_not_tested(copied):
    for log in ("steps.bin", "probes.jsonl", "checksums.bin"):
        (copied.path / log).unlink()
    found = inspect_run(rewrite(copied, progress={"steps": 0, "epochs": 0}), "copy")
    assert found.verdict == "not-tested"
    assert found.findings == ()
    assert found.history is None
    assert "No step is on record" in found.notes[-1]


def test_a_run_that_ended_before_its_model_was_built_is_a_clear_error(copied):
    state = {key: value for key, value in copied.state.items() if key != "info"}
    (copied.path / "run.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match="before its first step"):
        inspect_run(load_run(copied.path), "copy")


def test_a_diverged_run_shows_the_step_and_the_layer(train, inspect):
    path = train("optimizer=sgd", "optimizer.lr=50", "clip=none")
    found = inspect(target=path)
    fault = load_run(path).fault
    assert found.status == "diverged"
    (event,) = [event for event in found.events if event.kind == "non-finite"]
    assert (event.step, event.layer) == (fault.step, fault.layer)
    assert found.event_counts["non-finite"] == 1
    assert np.isnan(found.history.log10_norm[:, -1]).any()  # it does not vanish from the map
    assert "diverged after" in found.notes[0]


def test_events_have_their_steps(train, inspect):
    found = inspect(
        target=train("schedule=step", "schedule.milestones=[0.5]", "schedule.gamma=100")
    )
    changes = [event for event in found.events if event.kind == "lr-change"]
    assert [(event.step, pytest.approx(event.value)) for event in changes] == [(49, 100.0)]
    spikes = [event for event in found.events if event.kind == "spike"]
    assert spikes[0].step in (49, 50, 51)
    assert spikes[0].value > 10


def test_a_long_run_is_inspected_in_bounded_size(copied):
    rows = (copied.path / "steps.bin").read_bytes()
    (copied.path / "steps.bin").write_bytes(rows * 1000)
    (copied.path / "checksums.bin").unlink()
    found = inspect_run(copied, "copy")
    assert found.history.log10_norm.shape == (3, 120)
    assert len(found.events) <= 50


def test_a_users_own_loop_is_inspected_like_any_other(tmp_path, inspect):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 2))
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradcli.GradientMonitor(
        model, optimizer, name="mine", runs_dir=tmp_path, every=5
    ) as monitor:
        for _ in range(30):
            inputs = torch.randn(16, 4)
            loss = nn.functional.cross_entropy(model(inputs), (inputs[:, 0] > 0).long())
            optimizer.zero_grad()
            loss.backward()
            monitor.step(loss)
            optimizer.step()
    found = inspect(target=monitor.run)
    assert [finding.code for finding in found.findings] == ["frozen", "healthy"]
    assert (found.findings[0].layer, found.findings[0].override) == ("0", None)
    assert found.step == 30
    with pytest.raises(UserError, match="a loop of your own"):
        inspect("probes=[noise]", target=monitor.run)
    assert found.is_own_loop
    assert not any("--" in reason for reason in found.not_tested.values())
    assert found.not_tested["dead-units"] == found.not_tested["wrong-gradient"]
