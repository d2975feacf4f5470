"""A target that fits what is compared: short trials, any metric, and what a user sets wins."""

import json
import math

import pytest
import torch
from torch import nn

import gradcli
from gradcli import Problem

SHORT = ("data=mnist5k", "model.hidden=[16]", "epochs=2", "device=cpu", "clip=none")
ASKED = {"optimizers": ["sgd", "adam"], "lrs": [0.003, 0.1], "seeds": 3}


@pytest.fixture(autouse=True)
def _here(trials_in_this_process):
    """Trials run in this process."""


def reached(summary):
    return {arm.name: (arm.reached, arm.seeds) for arm in summary.target.steps.arms}


def test_a_short_comparison_reaches_its_target(runs_dir):
    """0.9, the usual one of this data, is out of reach in so few steps."""
    comparison = gradcli.compare(*SHORT, **ASKED, runs_dir=runs_dir)
    summary = comparison.summary
    assert summary.target.origin == "tuning"
    assert sum(count for count, _ in reached(summary).values()) >= 3
    assert {seeds for _, seeds in reached(summary).values()} == {3}
    # Trials that measure look more often than at the ends of the two epochs, others do not.
    target = summary.info.target_score
    for trial in summary.trials:
        run = comparison.run(trial)
        assert [one.step for one in run.validations] == (
            [16, 48] if trial.stage == "measuring" else []
        )
        if trial.stage == "measuring":
            on_val = [one for one in run.evals if one.split == "val"]
            scored = sorted((one.step, one.score) for one in (*run.validations, *on_val))
            assert [step for step, _ in scored] == [16, 32, 48, 64]
            first = next((step for step, score in scored if score >= target), math.inf)
            assert trial.measured["steps_to_target"] == first
            assert trial.timed_on == 500


@pytest.mark.parametrize(
    ("words", "origin"), [(["protocol.target=0.5"], "protocol"), (["protocol.tune=false"], "data")]
)
def test_a_target_that_is_given_stays(runs_dir, words, origin):
    asked = {**ASKED, "lrs": None} if origin == "data" else ASKED
    asked = {key: value for key, value in asked.items() if value is not None}
    summary = gradcli.compare(*SHORT, *words, **asked, runs_dir=runs_dir).summary
    assert (summary.target.origin, summary.info.target_score) == (
        origin, 0.5 if origin == "protocol" else 0.9,
    )  # fmt: skip


@pytest.mark.parametrize("metric", ["mse", "r2"])
def test_by_any_metric_some_arm_reaches_it(runs_dir, metric, gradcli):
    summary = compared(metric, runs_dir)
    assert summary.info.metric.name == metric
    assert math.isfinite(summary.info.target_score)
    assert max(count for count, _ in reached(summary).values()) > 0
    told = json.loads(gradcli("runs", "show", "latest", "--json").out)
    assert told["target"] == summary.info.target_score
    assert told["target_ranking"]["origin"] == "tuning"


def compared(metric, runs_dir):
    inputs = torch.randn(600, 4, generator=torch.Generator().manual_seed(0))
    problem = Problem(
        model=lambda: nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)),
        train=(inputs, inputs.sum(1, keepdim=True)),
        loss="mse",
        metric=metric,
    )
    asked = {**ASKED, "lrs": [0.01, 0.1], "engine": "serial"}
    return gradcli.compare(problem, "epochs=3", "batch_size=50", runs_dir=runs_dir, **asked).summary
