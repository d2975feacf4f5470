"""From the run directory of a trial to its outcome, its result and its progress."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.comparison import trials
from gradcli.comparison.live import SERIES
from gradcli.comparison.protocol import Outcome, Trial
from gradcli.errors import DamagedFileWarning
from gradcli.records import (
    ACCURACY,
    DataInfo,
    EvalRecord,
    LayerInfo,
    ParameterInfo,
    RunInfo,
    StepRecords,
    ValidationRecord,
    packed_scores,
)
from gradcli.runs import RunWriter, load_run

INFO = RunInfo(
    run="", name="", data=DataInfo("mnist5k", 4000, 500, 4, "abc", (1, 28, 28), 10),
    model="mlp", model_size=8, optimizer="sgd", learning_rate=0.1, schedule="constant",
    clip="none", activation="relu", device="cpu", threads=1, batch_size=128, epochs=1,
    total_steps=40, start_step=0,
    layers=(LayerInfo("output", "Linear", 0, (ParameterInfo("output.weight", (2, 4)),)),),
)  # fmt: skip
TUNING = Trial("one", "a", 0.1, 5, "tuning", {})
MEASURING = Trial("one", "a", 0.1, 5, "measuring", {})
RIGHT = np.array([True, False, True, True])


def steps(first, count):
    return StepRecords(
        step=np.arange(first, first + count),
        epoch=np.ones(count, dtype=int),
        loss=np.linspace(2, 1, count),
        learning_rate=np.full(count, 0.1),
        grad_norm_before_clip=np.arange(1.0, count + 1),
        clip_coefficient=np.full(count, 0.5),
        parameter_grad_norm_before_clip=np.ones((count, 1)),
        parameter_grad_norm_after_clip=np.ones((count, 1)),
    )


def evaluation(step, split, accuracy, **more):
    return EvalRecord(step, 1, split, 0.1, accuracy, 0.2, 1.0, 1.0, **more)


@pytest.fixture
def make_run(tmp_path):
    """Return a function that writes the run of a trial, which its process has left."""

    def make(status, *records, info=INFO, **facts):
        writer = RunWriter(tmp_path, "", {})
        writer.begin(info, {})
        for record in records:
            writer.write(record)
        writer.set_status(status, **facts)
        writer.close()
        return load_run(tmp_path)

    return make


def result_of(run, trial=MEASURING, status="finished", problem=""):
    return trials.result(
        trial, run, arm="a", optimizer="sgd", path="there", status=status, target=0.5,
        metric=ACCURACY,        problem=problem,
    )  # fmt: skip


def test_what_has_not_begun_waits():
    assert trials.outcome(None) == Outcome("waiting")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("finished", Outcome("finished", 0.7, {10: 0.25})),
        ("diverged", Outcome("diverged", rungs={10: 0.25})),
        ("running", Outcome("waiting", rungs={10: 0.25})),  # its process is gone
        ("interrupted", Outcome("waiting", rungs={10: 0.25})),
        ("failed", Outcome("waiting", rungs={10: 0.25})),
    ],
)
def test_the_outcome_is_what_the_run_says(make_run, status, expected):
    evals = [evaluation(10, "val", 0.6), evaluation(20, "val", 0.7), evaluation(20, "test", 0.4)]
    run = make_run(status, *evals, rungs={10: 0.25})
    found = trials.outcome(run)
    assert (found.status, found.rungs) == (expected.status, expected.rungs)
    assert found.merit == expected.merit or math.isnan(expected.merit)


def test_one_that_ended_and_is_damaged_since_is_made_again(make_run):
    run = make_run("finished", evaluation(20, "val", 0.7), rungs={10: 0.25})
    path = run.path / "evals.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.warns(UserWarning, match="does not match the checksum"):
        assert trials.outcome(load_run(run.path)) == Outcome("waiting")


def test_checksums_spare_the_records_from_being_decoded(make_run, monkeypatch):
    run = make_run("finished", steps(1, 20), evaluation(20, "val", 0.7))
    monkeypatch.setattr(type(run), "damage", property(lambda self: pytest.fail("all was decoded")))
    assert run.is_whole


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("steps.bin", lambda path: path.write_bytes(path.read_bytes()[:-3] + b"abc")),
        ("evals.jsonl", lambda path: path.unlink()),
        ("layers.json", lambda path: path.write_text("[]")),
        ("steps.json", lambda path: path.write_text("{}")),
        ("checksums.bin", lambda path: path.write_bytes(b"\xff" * 24)),
        ("run.json", lambda path: path.write_text(path.read_text().replace('"model"', '"nodel"'))),
    ],
)
def test_it_is_whole_if_it_has_no_damage(make_run, file, change):
    path = make_run("finished", steps(1, 20), evaluation(20, "val", 0.7)).path
    assert load_run(path).is_whole
    change(path / file)
    with pytest.warns(DamagedFileWarning):
        assert not load_run(path).is_whole
    with pytest.warns(DamagedFileWarning):
        assert load_run(path).damage


@pytest.mark.parametrize(("line", "whole"), [(None, True), ("{}", False), ("no JSON", False)])
@pytest.mark.filterwarnings("ignore::gradcli.errors.DamagedFileWarning")
def test_without_checksums_the_records_tell(make_run, line, whole):
    run = make_run("finished", steps(1, 20), evaluation(20, "val", 0.7))
    (run.path / "checksums.bin").unlink()
    if line is not None:
        with (run.path / "evals.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    run = load_run(run.path)
    assert run.is_whole == whole
    assert (not run.damage) == whole


def test_one_that_is_at_work_is_running(tmp_path):
    writer = RunWriter(tmp_path, "", {})
    assert trials.outcome(load_run(tmp_path)).status == "running"
    writer.close()


def test_one_that_is_given_up_has_failed_and_keeps_its_rungs():
    assert trials.gave_up(Outcome("waiting", 0.5, {10: 0.25})) == Outcome("failed", 0.5, {10: 0.25})


def test_the_result_of_a_measuring_trial(make_run):
    run = make_run(
        "finished",
        steps(1, 20),
        evaluation(10, "val", 0.6),
        evaluation(20, "val", 0.7),
        evaluation(20, "test", 0.3, example_scores=packed_scores(~RIGHT)),
        evaluation(20, "test", 0.75, example_scores=packed_scores(RIGHT)),
        progress={"steps": 20},
        seconds_total=3.5,
        seconds_train=2.0,
    )
    found = result_of(run)
    assert (found.steps, found.seconds) == (20, 3.5)
    assert (found.val_score, found.test_score) == (0.7, 0.75)
    assert found.example_scores.tolist() == RIGHT.tolist()
    assert found.measured["steps_to_target"] == 10
    assert found.measured["grad_norm"] == pytest.approx(10.5)
    assert found.measured["steps_per_second"] == 10.0
    assert (found.arm, found.optimizer, found.run, found.error) == ("a", "sgd", "there", "")
    assert (found.id, found.learning_rate, found.seed) == ("one", 0.1, 5)


def test_validations_within_epochs_and_evaluations_make_one_curve(make_run):
    run = make_run(
        "finished",
        steps(1, 40),
        ValidationRecord(10, 500, 0.6, 0.5),
        evaluation(20, "val", 0.7),
        ValidationRecord(30, 500, 0.8, 1.5),
        evaluation(40, "val", 0.75),
        evaluation(40, "test", 0.99),
    )
    assert [(one.step, one.score) for one in trials.validations(run)] == [
        (10, 0.6), (20, 0.7), (30, 0.8), (40, 0.75),
    ]  # fmt: skip
    assert result_of(run).timed_on == 500


def test_scores_of_a_sample_are_not_mixed_with_those_of_the_whole_split(make_run):
    run = make_run(
        "finished",
        steps(1, 40),
        ValidationRecord(20, 100, 0.71, 0.5),
        evaluation(20, "val", 0.9),
        ValidationRecord(40, 100, 0.75, 1.5),
        evaluation(40, "val", 0.9),
    )
    assert [(one.step, one.score) for one in trials.validations(run)] == [(20, 0.71), (40, 0.75)]
    assert result_of(run).timed_on == 100


@pytest.mark.parametrize(
    ("scores", "early"),
    [
        ({10: 0.6, 20: 0.9, 30: 0.95, 40: 0.97}, 0.9),  # 20 is the first of 40 after two fifths
        ({10: 0.9, 20: 0.8, 30: 0.95, 40: 0.97}, 0.9),  # the best until then
        ({40: 0.97}, 0.97),
        ({20: math.nan, 40: 0.97}, math.nan),
    ],
)
def test_how_good_a_trial_was_early(make_run, scores, early):
    evaluations = [evaluation(step, "val", score) for step, score in scores.items()]
    run = make_run("finished", steps(1, 40), *evaluations)
    assert trials.outcome(run).early == pytest.approx(early, nan_ok=True)


def test_the_test_split_of_a_tuning_trial_does_not_count(make_run):
    tested = evaluation(20, "test", 0.75, example_scores=packed_scores(RIGHT))
    found = result_of(make_run("finished", evaluation(20, "val", 0.7), tested), TUNING)
    assert found.val_score == 0.7
    assert math.isnan(found.test_score)
    assert found.example_scores is None


def test_a_trial_that_diverged_has_no_accuracy(make_run):
    tested = evaluation(20, "test", 0.75, example_scores=packed_scores(RIGHT))
    found = result_of(make_run("diverged", evaluation(20, "val", 0.7), tested), status="diverged")
    assert np.isnan([found.val_score, found.test_score]).all()
    assert found.example_scores is None


def test_a_stopped_trial_has_the_accuracy_of_its_last_rung(make_run):
    run = make_run("interrupted", evaluation(20, "val", 0.7), rungs={20: 0.6, 10: 0.25})
    assert result_of(run, TUNING, "stopped").val_score == 0.6
    assert math.isnan(result_of(run, TUNING, "diverged").val_score)


def test_a_trial_that_never_began_has_no_numbers():
    found = result_of(None, status="failed")
    assert found.steps == 0
    assert np.isnan([found.val_score, found.test_score, found.seconds]).all()
    assert math.isnan(found.measured["grad_norm"])


def test_a_run_that_ended_before_its_first_step_has_no_numbers(tmp_path):
    RunWriter(tmp_path, "", {}).close()
    found = result_of(load_run(tmp_path), status="failed")
    assert (found.steps, found.example_scores) == (0, None)
    assert math.isnan(found.measured["grad_norm"])


MISTAKE = {"problem": "of the user", "where": None, "choices": [], "hint": None}


@pytest.mark.parametrize(
    ("facts", "problem", "said"),
    [
        ({}, "", "its process ended without a message"),
        ({"error": "broken"}, "", "broken"),
        ({"error": "broken", "user_error": MISTAKE}, "", "of the user"),
        ({"error": "broken"}, "killed", "killed"),
    ],
)
def test_a_failed_trial_says_what_went_wrong(make_run, facts, problem, said):
    run = make_run("failed", **facts)
    assert result_of(run, status="failed", problem=problem).error == said
    assert result_of(run, status="finished", problem=problem).error == ""
    assert result_of(None, status="failed", problem="killed").error == "killed"


def test_a_snapshot_says_how_fast_a_trial_is_and_what_is_left(make_run):
    run = make_run("running", steps(1, 10))
    found = trials.snapshot(TUNING, run, until=None, seconds=5.0)
    assert (found.trial.step, found.trial.total_steps) == (10, 40)
    assert found.steps_per_second == 2.0
    assert (found.trial.seconds_elapsed, found.trial.seconds_left) == (5.0, 15.0)
    assert found.grad_norms.tolist() == list(range(1, 11))
    assert found.losses[[0, -1]].tolist() == [2.0, 1.0]
    assert set(found.clip_coefficients) == {0.5}
    paused = trials.snapshot(TUNING, run, until=20, seconds=5.0).trial
    assert (paused.total_steps, paused.seconds_left) == (20, 5.0)


def test_the_steps_of_an_earlier_part_do_not_make_a_resumed_trial_faster(make_run):
    run = make_run("running", steps(7, 4), info=replace(INFO, start_step=6))
    assert trials.snapshot(TUNING, run, until=None, seconds=2.0).steps_per_second == 2.0


def test_the_speed_of_a_trial_is_unknown_before_its_first_step(make_run):
    begun = make_run("running")
    found = trials.snapshot(TUNING, begun, until=None, seconds=1.0)
    assert (found.trial.step, found.trial.total_steps) == (0, 40)
    assert np.isnan([found.steps_per_second, found.trial.seconds_left]).all()


def test_the_speed_of_a_trial_just_seen_is_unknown(make_run):
    run = make_run("running", steps(1, 1))
    at_once, soon = (
        trials.snapshot(TUNING, run, until=None, seconds=seconds) for seconds in (0.0, 0.5)
    )
    assert math.isnan(at_once.steps_per_second)
    assert soon.steps_per_second == 2.0


def test_of_a_long_trial_only_the_latest_steps_are_read(make_run):
    count = trials.RECENT_STEPS + 5
    found = trials.snapshot(TUNING, make_run("running", steps(1, count)), until=None, seconds=1.0)
    assert found.grad_norms[[0, -1]].tolist() == [6, count]
    assert len(found.losses) == trials.RECENT_STEPS


def test_a_trial_without_a_header_has_made_no_step(tmp_path):
    RunWriter(tmp_path, "", {}).close()
    found = trials.snapshot(TUNING, load_run(tmp_path), until=None, seconds=1.0)
    assert (found.trial.step, found.trial.total_steps) == (0, 0)


def test_a_short_series_stays_as_it_is():
    assert trials.thinned(np.arange(3.0)) == (0.0, 1.0, 2.0)
    assert trials.thinned(np.empty(0)) == ()
    whole = np.arange(float(SERIES))
    assert trials.thinned(whole) == tuple(whole)


def test_a_long_series_is_thinned_evenly_with_both_ends():
    found = np.array(trials.thinned(np.arange(1000.0)))
    assert len(found) == SERIES
    assert found[[0, -1]].tolist() == [0, 999]
    assert np.ptp(np.diff(found)) <= 1
