"""What is known of a comparison on the disk, and the commands to type next."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from gradcli.comparison import summary, trial_store
from gradcli.comparison.statistics import summarise_scores
from gradcli.comparison.trial_store import (
    TrialStore,
    extend_command,
    retry_command,
    winner_command,
)
from gradcli.runs import ComparisonDirectory

STORED = next((Path(__file__).parents[1] / "fixtures" / "schema-1").glob("*-comparison-*"))
NO_SCORES = summarise_scores([])
SCORES = summarise_scores([0.9, 0.8])


@pytest.fixture
def stored(tmp_path):
    """A complete comparison of two arms: each with two tuning and two measuring trials."""
    shutil.copytree(STORED, tmp_path / "compared")
    return ComparisonDirectory(tmp_path / "compared")


@pytest.fixture
def ranked(make_comparison_info, make_result):
    """Return a function that ranks an arm alone, with what the caller changes."""

    def rank(arm, **changes):
        compared = summary.compare_results([arm], make_comparison_info())
        (found,) = summary.rank(
            [replace(arm, tuning=(), measuring=())], compared, make_comparison_info()
        )
        values = {"test_score": SCORES, "val_score": SCORES, "seeds": (7, 8)} | changes
        return replace(found, **values)

    return rank


# The store


def test_a_comparison_says_where_it_is_and_not_where_it_was(stored):
    assert TrialStore(stored).info.path == str(stored.path)
    assert stored.state["info"]["path"] != str(stored.path)


def test_a_comparison_of_an_older_version_keeps_its_target_and_times_the_ends_of_epochs(stored):
    found = TrialStore(stored).summarise("finished", 1.0)
    assert found.info.target_score == 0.9
    assert found.target.origin == ""
    assert {arm.seeds for arm in found.target.steps.arms} == {2}
    assert found.target.steps.seeds_needed == 4


def test_a_call_is_noted_here_and_on_the_disk(stored):
    store = TrialStore(stored)
    info = store.begin_call("serial", 3, 5)
    assert (info.engine, info.jobs, info.already_done) == ("serial", 3, 5)
    assert store.info == info
    described = json.loads((stored.path / "comparison.json").read_text())["info"]
    assert [described[key] for key in ("engine", "jobs", "already_done")] == ["serial", 3, 5]
    assert described["model"] == "rnn"


def test_a_complete_comparison_has_a_result_of_every_trial(stored):
    store = TrialStore(stored)
    found = store.summarise("finished", 2.5)
    assert (found.status, found.failed, found.seconds) == ("finished", 0, 2.5)
    assert [len(one.tuning) + len(one.measuring) for one in store.arms()] == [4, 4]
    assert [trial.stage for trial in found.trials] == (["tuning"] * 2 + ["measuring"] * 2) * 2
    assert {one.arm: one.learning_rate for one in found.tuning if one.chosen} == {
        one.name: one.learning_rate for one in found.ranking
    }
    assert (found.resume_command, found.halving) == ("", None)
    best = found.ranking[0]
    assert found.winner_command.startswith(f"gradcli train data=mnist5k optimizer={best.name} ")
    assert best.learning_rate_at_edge
    assert "--optimizers sgd,momentum --lrs 0.1,0.3,0.9,2.7,8.1 " in found.extend_command


def test_known_results_are_not_yielded_again(stored):
    store = TrialStore(stored)
    first, *others = store.ended()
    assert list(store.ended({(first.arm, first.id)})) == others
    assert list(store.ended({("another arm", first.id)})) == [first, *others]


def test_an_interrupted_comparison_can_be_resumed(stored):
    found = TrialStore(stored).summarise("interrupted", 1.0, ["--runs-dir", "here"])
    assert found.resume_command == (
        f"gradcli compare-optimizers --runs-dir here --resume {stored.path}"
    )


def test_a_trial_that_is_given_up_has_failed_and_can_be_retried(stored):
    store = TrialStore(stored)
    before = store.summarise("finished", 1.0)
    trial = before.trials[-1]
    store.give_up(trial.id, "killed twice")
    found = store.summarise("finished", 1.0)
    (failed,) = [one for one in found.trials if one.status == "failed"]
    assert (failed.id, failed.error, found.failed) == (trial.id, "killed twice", 1)
    assert found.status == "finished"  # each arm still has a score
    assert found.resume_command.endswith(str(stored.path))
    again = TrialStore(stored, {trial.id: "killed twice"})
    assert again.summarise("finished", 1.0).failed == 1


def test_an_arm_without_a_score_fails_a_comparison(stored):
    store = TrialStore(stored)
    for trial in store.arms()[1].measuring:
        store.give_up(trial.id, "killed twice")
    assert store.summarise("finished", 1.0).status == "failed"
    assert store.summarise("interrupted", 1.0).status == "interrupted"


def test_a_problem_of_a_trial_that_never_began_is_kept(stored):
    trial = TrialStore(stored).arms()[0].measuring[0]
    shutil.rmtree(stored.trial_path(trial.id))
    (failed,) = [
        one for one in TrialStore(stored, {trial.id: "killed"}).ended() if one.status == "failed"
    ]
    assert (failed.id, failed.error, failed.steps) == (trial.id, "killed", 0)


def test_the_outcome_of_a_trial_is_read_again_when_asked(stored):
    store = TrialStore(stored)
    trial = store.arms()[0].measuring[0]
    assert store.states()[0].wanted == ()
    shutil.rmtree(stored.trial_path(trial.id))
    assert store.states()[0].wanted == ()
    assert store.read(trial.id).status == "waiting"
    assert [one.id for one, _ in store.states()[0].wanted] == [trial.id]
    assert len(list(store.ended())) == 7


def test_everything_recorded_of_each_trial_that_measures_is_there_for_curves(stored):
    store = TrialStore(stored)
    results = store.summarise("finished", 1.0)
    measuring = [one for one in results.trials if one.stage == "measuring"]
    (stored.trial_path(measuring[0].id) / "layers.json").unlink()
    shutil.rmtree(stored.trial_path(measuring[1].id))
    records = list(store.records(results))
    assert [one.trial for one in records] == measuring[2:]
    assert {len(one.steps) for one in records} == {32}
    assert all(one.evals and one.info.optimizer for one in records)


def test_halving_is_reported_if_the_protocol_has_it(stored):
    store = TrialStore(stored)
    store.plan = replace(store.plan, protocol=replace(store.plan.protocol, rungs=(0.5,)))
    assert store.summarise("finished", 1.0).halving.trials == 4


def test_a_trial_that_waits_at_a_rung_which_others_passed_is_stopped(stored):
    for trial, (status, accuracy) in zip(
        TrialStore(stored).arms()[0].tuning, [("finished", 0.9), ("interrupted", 0.1)], strict=True
    ):
        path = stored.trial_path(trial.id) / "run.json"
        change = {"status": status, "rungs": {"16": accuracy}}
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    store = TrialStore(stored)
    store.plan = replace(store.plan, protocol=replace(store.plan.protocol, rungs=(0.5,)))
    kept, stopped = store.arms()[0].tuning
    assert (kept.status, stopped.status) == ("finished", "stopped")
    assert stopped.val_score == 0.1
    assert stopped.id in {trial.id for trial in store.ended()}


# Commands


def test_the_winners_command_repeats_its_first_fresh_seed(make_arm, make_plan, ranked):
    arm = make_arm("adam clip=none", optimizer="adam", overrides=("clip=none", "optimizer.lr=9"))
    given = [
        "data=own",
        "epochs=5",
        "seed=3",
        "threads=9",
        "name=x",
        "+optimizer.lr=4",
        "model=cnn",
    ]
    plan = make_plan(make_arm("other"), arm, train_overrides=given)
    winner = ranked(arm, learning_rate=0.002)
    assert winner_command(plan, winner, ["--data-dir", "d"]) == (
        "gradcli train --data-dir d data=mnist5k optimizer=adam model=cnn clip=none epochs=3 "
        "seed=7 threads=1 optimizer.lr=0.002"
    )
    without = ranked(arm, learning_rate=math.nan)
    assert "optimizer.lr" not in winner_command(plan, without)


@pytest.mark.parametrize(
    ("test", "val", "repeated"),
    [(SCORES, NO_SCORES, True), (NO_SCORES, SCORES, True), (NO_SCORES, NO_SCORES, False)],
)
def test_an_arm_without_any_score_is_not_repeated(make_arm, make_plan, ranked, test, val, repeated):
    arm = make_arm("sgd")
    winner = ranked(arm, test_score=test, val_score=val)
    assert bool(winner_command(make_plan(arm), winner)) is repeated


@pytest.mark.parametrize(
    ("rates", "lower"),
    [
        ((0.3,), "0.03,0.003,0.0003"),
        ((0.5, 5.0), "0.05,0.005,0.0005"),
        ((20.0, 50.0), "0.1,0.01,0.001"),  # no optimizer needs more than 1
        ((math.nan, 0.3), "0.03,0.003,0.0003"),
    ],
)
def test_what_only_diverged_is_tried_again_at_lower_learning_rates(
    make_arm, make_plan, make_result, rates, lower
):
    arm = make_arm("sgd", [make_result(status="diverged")], rates=rates)
    assert retry_command(make_plan(arm), [arm], ["--runs-dir", "r"]) == (
        f"gradcli compare-optimizers --runs-dir r --optimizers sgd --lrs {lower} --protocol quick "
        "--seeds 2"
    )


def test_without_any_learning_rate_none_is_proposed(make_arm, make_plan, make_result):
    arm = make_arm("own", measuring=[make_result(status="diverged")], rates=(math.nan,))
    assert "--lrs" not in retry_command(make_plan(arm), [arm])
    assert "--optimizers own" in retry_command(make_plan(arm), [arm])


@pytest.mark.parametrize("statuses", [[], ["diverged", "finished"], ["failed"]])
def test_only_what_wholly_diverged_is_tried_again(make_arm, make_plan, make_result, statuses):
    arm = make_arm("sgd", measuring=[make_result(status=one) for one in statuses])
    assert retry_command(make_plan(arm), [arm]) == ""


@pytest.mark.parametrize(
    ("rates", "best", "wider"),
    [
        ((0.1, 0.2, 0.4), 0.4, "0.1,0.2,0.4,0.8,1.6,3.2"),
        ((0.1, 0.2, 0.4), 0.1, "0.013,0.025,0.05,0.1,0.2,0.4"),
        ((0.001, 1.0), 1.0, "0.001,1,10,100,1000"),
        ((0.001, 1.0), 0.001, "1e-06,1e-05,0.0001,0.001,1"),
    ],
)
def test_a_grid_is_extended_beyond_the_end_where_the_best_is(
    make_arm, make_plan, ranked, rates, best, wider
):
    arm = make_arm("sgd", rates=rates, chosen=best)
    found = extend_command(make_plan(arm), ranked(arm), [make_arm("other"), arm], ["--x"])
    assert found == (
        f"gradcli compare-optimizers --x --optimizers sgd --lrs {wider} --protocol quick --seeds 2"
    )


def test_a_grid_with_the_best_inside_or_without_a_score_is_not_extended(
    make_arm, make_plan, ranked
):
    arm = make_arm("sgd", rates=(0.1, 0.2, 0.4), chosen=0.2)
    assert extend_command(make_plan(arm), ranked(arm), [arm]) == ""
    arm = make_arm("sgd", rates=(0.1, 0.2, 0.4), chosen=0.4)
    assert extend_command(make_plan(arm), ranked(arm, test_score=NO_SCORES), [arm]) == ""


def test_a_comparison_made_again_varies_what_was_varied(make_arm, make_plan, make_result):
    lost = [make_result(status="diverged")]
    arms = [
        make_arm(
            f"{optimizer} {clip}",
            lost,
            optimizer=optimizer,
            overrides=(clip, "optimizer.lr=3", "schedule=cosine"),
        )
        for optimizer in ("sgd", "adam")
        for clip in ("clip=none", "clip=norm")
    ]
    plan = make_plan(
        *arms, train_overrides=["model=cnn", "optimizer.lr=0.5", "threads=1"], seeds=(1, 2, 3)
    )
    assert retry_command(plan, arms) == (
        "gradcli compare-optimizers --optimizers sgd,adam --lrs 0.01,0.001,0.0001 "
        "--vary clip=none,norm --vary schedule=cosine --protocol quick --seeds 3 model=cnn "
        "threads=1"
    )


def test_these_statuses_are_ends():
    assert set(trial_store.ENDED) == {"finished", "diverged", "stopped", "failed"}
