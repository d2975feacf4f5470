"""Probes that a run makes while it trains: it never notices them, and their numbers are right."""

from __future__ import annotations

import json
import math
import os
import random
import signal

import numpy as np
import pytest
import torch

import gradcli
from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.inspection.assemble import inspect_run
from gradcli.probes.registry import selectable_probes
from gradcli.runs import RunWriter, load_checkpoint, load_run
from gradcli.views.train.train_view import QuietView
from gradcli.workflows.train import run_trial

# Dropout, batch norm, a schedule and a clipping rule with a memory: all that could be disturbed.
MOODY = (
    *("data=mnist5k", "threads=1", "model.hidden=[12,10]", "model.dropout=0.3"),
    *("clip=autoclip", "schedule=warmup_cosine", "batch_size=800", "epochs=2", "monitor.every=5"),
)
PROBED = ("monitor.probes=[all]", "monitor.probes_at=[start,epoch,3]")
STEPS = [0, 3, 5, 10]
#: Those that take least; one of them trains its copy on.
FEW = ("monitor.probes=[signals,histograms,cosine]", PROBED[1])


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """Train by overrides, in a directory that was begun or a new one, and return the run."""
    dataset = load_dataset("mnist5k")
    home = tmp_path_factory.mktemp("probed")

    def train(*words: str, directory=None, until=None):
        directory = directory or home / f"run{len(list(home.iterdir()))}"
        facts = {"started": "2026-01-01T00:00:00+00:00"}
        config = compose_train(["checkpoint.keep=last", *words]).yaml()
        run_trial(directory, config, lambda config: dataset, facts=facts, until=until)
        return load_run(directory)

    return train


@pytest.fixture(scope="module")
def probed(trial):
    return trial(*MOODY, *PROBED)


@pytest.fixture(scope="module")
def barely_probed(trial):
    return trial(*MOODY, *FEW)


@pytest.fixture(scope="module")
def unprobed(trial):
    return trial(*MOODY)


def assert_same(one, other, where=""):
    """Compare two checkpoints bit by bit, their times and the lengths of logs left out."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one.keys() - {"seconds", "phase_seconds", "log_bytes"}:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        for place, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{where}[{place}]")
    else:
        assert one == other, where


def assert_trained_alike(one, other):
    assert_same(load_checkpoint(one.path), load_checkpoint(other.path))
    assert (one.path / "steps.bin").read_bytes() == (other.path / "steps.bin").read_bytes()
    assert repr(one.layer_records) == repr(other.layer_records)
    scores = [[(e.loss, e.score, e.train_loss) for e in run.evals] for run in (one, other)]
    assert repr(scores[0]) == repr(scores[1])


def numbers(run):
    """All that the probes found, their costs left out."""
    return [
        (one.step, one.probe, repr((one.value, one.low, one.high, one.limit, one.result)))
        for one in run.probe_records
    ]


def test_training_is_the_same_to_the_bit_with_probes_and_without(probed, unprobed):
    assert probed.status == "finished"
    assert unprobed.probe_records == ()
    assert_trained_alike(probed, unprobed)


def test_buffers_and_a_carried_state_are_the_same_too(trial):
    words = (*MOODY, "model.norm=batch", "optimizer=momentum", "max_steps=4")
    probed = trial(*words, "monitor.probes=[all]", "monitor.probes_at=[2]")
    assert_trained_alike(probed, trial(*words))
    refused = {one.probe: one.refused for one in probed.probe_records if one.refused}
    assert "batch norm" in refused["noise"]
    assert math.isnan(next(one for one in probed.probe_records if one.probe == "noise").value)


def test_every_probe_is_made_at_every_moment(probed):
    made = [(one.step, one.probe) for one in probed.probe_records]
    assert made == [(step, probe) for step in STEPS for probe in selectable_probes()]
    for one in probed.probe_records:
        assert bool(one.refused) == (one.probe == "hidden-states")
        if not one.refused:
            assert one.seconds > 0
            assert one.passes > 0


def test_the_numbers_are_those_of_the_whole_result(probed):
    for one in probed.probe_records:
        result = one.result
        match one.probe:
            case "noise":
                scale = result["noise_scale"]
                expected = [scale["estimate"], scale["low"], scale["high"]]
            case "cosine":
                expected = [np.mean(result), np.min(result), np.max(result)]
            case "alpha":
                fits = [fit["alpha"] for fit in result]
                expected = [np.median(fits), np.min(fits), np.max(fits)]
            case "descent":
                expected = [result["best_step"], 0.0, result["descends_to"]]
            case "signals":
                units = [layer["units"] for layer in result["layers"][:-1]]
                dead = [layer["dead_units"] for layer in result["layers"][:-1]]
                shares = np.divide(dead, units)
                assert units == [12, 10]
                expected = [sum(dead) / 22, shares.min(), shares.max()]
            case "histograms":
                zeros = np.array([layer["histogram"]["zeros"] for layer in result])
                sizes = np.array([784 * 12 + 12, 12 * 10 + 10, 10 * 10 + 10])
                shares = zeros / sizes
                expected = [zeros.sum() / sizes.sum(), shares.min(), shares.max()]
            case _:
                continue
        assert [one.value, one.low, one.high] == pytest.approx(expected, nan_ok=True)


def test_sharpness_is_held_against_the_optimizers_threshold(probed, trial):
    at_start, *later = (one for one in probed.probe_records if one.probe == "sharpness")
    assert math.isnan(at_start.limit)  # Adam divides by what it has not seen yet
    assert at_start.value == at_start.result["largest"]
    assert all(one.value == one.result["preconditioned"] for one in later)
    words = ("optimizer=sgd", "optimizer.lr=0.25", "schedule=constant", "clip=none", "max_steps=2")
    plain = trial(*MOODY[:4], *words, "monitor.probes=[sharpness]", "monitor.probes_at=[start]")
    (one,) = plain.probe_records
    assert one.limit == pytest.approx(2 / 0.25)
    assert one.value == one.result["largest"]


def test_at_the_end_the_numbers_are_those_of_the_checkpoint(probed, inspect):
    found = inspect("probes=[noise,sharpness,descent]", target=probed.path).probes.found
    last = {one.probe: one for one in probed.probe_records if one.step == STEPS[-1]}
    assert last["noise"].value == found["noise"].noise_scale.estimate
    assert last["noise"].result["grad_norm"] == found["noise"].grad_norm
    assert last["sharpness"].limit == found["sharpness"].threshold
    assert last["sharpness"].value == found["sharpness"].preconditioned
    assert last["descent"].result["losses"] == found["descent"].losses.tolist()
    # One at a time, since an inspection's second probe of steps continues where the first one ends.
    cosines = inspect("probes=[cosine]", target=probed.path).probes.found["cosine"]
    fits = inspect("probes=[alpha]", target=probed.path).probes.found["alpha"]
    assert last["cosine"].result == list(cosines)
    assert [fit["alpha"] for fit in last["alpha"].result] == [fit.alpha for fit in fits]


def test_what_a_probe_finds_does_not_depend_on_the_others(probed, trial):
    alone = trial(*MOODY, "monitor.probes=[alpha]", "monitor.probes_at=[3]")
    assert numbers(alone) == [one for one in numbers(probed) if one[:2] == (3, "alpha")]


@pytest.mark.parametrize("until", [4, 5])
def test_a_run_that_pauses_runs_each_probe_once(barely_probed, trial, tmp_path, until):
    paused = trial(*MOODY, *FEW, directory=tmp_path / "run", until=until)
    assert paused.status == "interrupted"
    assert {one.step for one in paused.probe_records} == {s for s in STEPS if s <= until}
    whole = trial(*MOODY, *FEW, directory=tmp_path / "run")
    assert numbers(whole) == numbers(barely_probed)
    assert_trained_alike(whole, barely_probed)


def test_probes_that_a_kill_has_cut_off_are_made_again(barely_probed, trial, tmp_path):
    run = trial(*MOODY, *FEW, directory=tmp_path / "run", until=3)
    # As if the process had been killed in the middle of the last probes' log.
    path = run.path / "probes.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    checkpoint = load_checkpoint(run.path)
    checkpoint["log_bytes"]["probes.jsonl"] = path.stat().st_size
    torch.save(checkpoint, run.path / "checkpoints" / "last.pt")
    whole = trial(*MOODY, *FEW, directory=tmp_path / "run")
    assert numbers(whole) == numbers(barely_probed)
    assert_trained_alike(whole, barely_probed)


def test_ctrl_c_between_probes_loses_nothing(barely_probed, trial, tmp_path, monkeypatch):
    """The probes made so far stay; the others of that step are made after the resumption."""
    write = RunWriter.write

    def write_and_interrupt(self, record):
        write(self, record)
        if getattr(record, "probe", "") == "signals" and record.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "write", write_and_interrupt)
        run = trial(*MOODY, *FEW, directory=tmp_path / "run")
    assert run.status == "interrupted"
    assert [one.probe for one in run.probe_records if one.step == 3] == ["signals"]
    whole = trial(*MOODY, *FEW, directory=tmp_path / "run")
    assert numbers(whole) == numbers(barely_probed)
    assert_trained_alike(whole, barely_probed)


def test_a_run_that_diverges_is_probed_up_to_there(trial):
    run = trial(
        *("data=mnist5k", "threads=1", "model.hidden=[8]", "optimizer=sgd", "clip=none"),
        *("optimizer.lr=1e4", "monitor.probes=[histograms]", "monitor.probes_at=[start,1,end]"),
    )
    assert run.status == "diverged"
    assert [one.step for one in run.probe_records][:2] == [0, 1]
    assert all(one.step < run.fault.step for one in run.probe_records)


def test_with_non_finite_gradients_probes_are_refused_with_a_message(train):
    run = load_run(
        train("model=nan_backward", "monitor.probes=[noise,alpha]", "monitor.probes_at=[start]")
    )
    assert [one.probe for one in run.probe_records] == ["noise", "alpha"]
    assert all("finite" in one.refused for one in run.probe_records)


def test_global_states_are_left_alone(trial):
    def states():
        return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()

    before = states(), torch.get_num_threads()
    trial(*MOODY, "max_steps=1", "monitor.probes=[all]", "monitor.probes_at=[end]")
    assert (states(), torch.get_num_threads()) == before


def test_a_view_receives_what_was_found_and_what_it_cost(tmp_path):
    class Witness(QuietView):
        def __init__(self):
            self.notes = []

        def note(self, text):
            self.notes.append(text)

    view = Witness()
    words = ["max_steps=2", "monitor.probes=[histograms,cosine,hidden-states]"]
    gradcli.train(*MOODY, *words, runs_dir=tmp_path, view=view)
    assert [note.partition(":")[0] for note in view.notes] == [
        "probes at step 0",
        "probes at step 2",
    ]
    for note in view.notes:
        assert "gradient cosine" in note
        assert "forward-backward passes" in note
        assert note.endswith("not applicable: hidden-states")


def test_the_time_in_all_includes_probes_and_that_of_training_does_not(probed):
    probing = sum(one.seconds for one in probed.probe_records if not one.refused)
    assert probed.state["seconds_total"] > probing + probed.state["seconds_train"]
    assert probed.evals[-1].seconds > probing


# What the diagnosis makes of them ------------------------------------------------------------


def test_probes_of_the_last_step_are_evidence(probed, unprobed):
    found = inspect_run(probed, "run")
    assert {"dead-units", "saturated"} <= set(found.tested)
    assert {"dead-units", "saturated"} <= set(inspect_run(unprobed, "run").not_tested)
    assert repr(found.probe_history) == repr(probed.probe_records)


def test_probes_of_an_earlier_step_are_none(trial):
    early = trial(*MOODY, "monitor.probes=[signals]", "monitor.probes_at=[start,3]")
    assert "dead-units" in inspect_run(early, "run").not_tested


def test_dead_units_that_a_run_has_seen_are_in_its_verdict(train, inspect):
    words = ("model=dead", "monitor.probes=[signals]", "monitor.probes_at=[end]")
    path = train(*words)
    by_run, by_checkpoint = inspect(target=path), inspect("probes=[signals]", target=path)
    codes = [(one.code, one.layer, one.evidence) for one in by_run.findings]
    assert "dead-units" in [code for code, _, _ in codes]
    assert codes == [(one.code, one.layer, one.evidence) for one in by_checkpoint.findings]


def test_a_recurrent_run_is_judged_through_time(train, inspect):
    words = ("model=rnn", "model.hidden=16", "model.cell=tanh", "max_steps=4")
    path = train(*words, "monitor.probes=[signals,hidden-states]", "monitor.probes_at=[end]")
    (states,) = (one for one in load_run(path).probe_records if one.probe == "hidden-states")
    (module,) = states.result
    norms = np.log10(module["hidden"])
    assert states.value == pytest.approx(np.polyfit(range(28), norms, 1)[0])
    by_run = inspect(target=path)
    by_checkpoint = inspect("probes=[signals,hidden-states]", target=path)
    assert [(one.code, one.evidence) for one in by_run.findings] == [
        (one.code, one.evidence) for one in by_checkpoint.findings
    ]


def test_the_records_are_plain_values(probed):
    for one in probed.probe_records:
        json.dumps(one.result)
