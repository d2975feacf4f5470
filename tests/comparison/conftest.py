"""Arms and trials put together by hand, so that nothing is trained."""

from __future__ import annotations

import numpy as np
import pytest

from gradcli.comparison.plan import Plan
from gradcli.comparison.protocol import Arm, ArmState, Candidate, Protocol
from gradcli.comparison.results import ArmInfo, ComparisonInfo, ProtocolInfo, TrialResult
from gradcli.comparison.summary import ArmTrials
from gradcli.records import DataInfo


@pytest.fixture
def make_result():
    """Return a function that makes the result of a trial; by default it has finished."""

    def make(arm="a", rate=0.1, seed=1, status="finished", **changes):
        values = {
            "id": f"{arm} {rate} {seed}",
            "arm": arm,
            "optimizer": arm,
            "learning_rate": rate,
            "seed": seed,
            "stage": "measuring",
            "status": status,
            "run": "",
            "steps": 100,
            "val_score": 0.9,
            "test_score": 0.8,
            "measured": {"steps_per_second": 10.0, "steps_to_target": 50.0},
            "seconds": 10.0,
            "error": "",
        }
        return TrialResult(**values | changes)

    return make


@pytest.fixture
def make_arm():
    """Return a function that makes an arm's state with results: `tuning` is accuracy by rate."""

    def make(name="a", tuning=(), measuring=(), *, rates=(0.1,), chosen=0.1, stage="measuring",
             steps=100, overrides=(), optimizer=None):  # fmt: skip
        arm = Arm(
            info=ArmInfo(name, optimizer or name, overrides, rates),
            config={
                "epochs": 3,
                "threads": 1,
                "data": {"name": "mnist5k"},
                "optimizer": {"lr": 0.1},
            },
            grid=None,
            steps=steps,
        )
        state = ArmState(
            arm,
            stage,
            tuple(map(Candidate, rates)),
            None if chosen is None else Candidate(chosen),
            (),
            (),
            frozenset(),
            (),
        )
        return ArmTrials(state, tuple(tuning), tuple(measuring))

    return make


@pytest.fixture
def make_comparison_info():
    """Return a function that makes the header of a comparison."""

    def make(*, seeds=(1, 2), test=500, jobs=1, **changes):
        values = {
            "path": "runs/one",
            "name": "one",
            "data": DataInfo("mnist5k", 4000, 500, test, "abc", (1, 28, 28), 10),
            "model": "mlp",
            "model_size": 100,
            "activation": "relu",
            "schedule": "cosine",
            "clip": "none",
            "batch_size": 128,
            "epochs": 3,
            "steps": 100,
            "protocol": ProtocolInfo("quick", True, (0,), seeds, 3, 0, 2, False),
            "target_score": 0.9,
            "arms": (),
            "engine": "local",
            "jobs": jobs,
            "device": "cpu",
            "threads": 1,
            "already_done": 0,
        }
        return ComparisonInfo(**values | changes)

    return make


@pytest.fixture
def make_plan(make_comparison_info):
    """Return a function that makes the plan of a comparison of some arms."""

    def make(*arms, train_overrides=(), seeds=(1, 2)):
        protocol = Protocol((0,), seeds, 0, 2, ())
        info = make_comparison_info(seeds=seeds)
        return Plan(info, tuple(one.state.arm for one in arms), protocol, tuple(train_overrides))

    return make


@pytest.fixture
def curve():
    """Return a function that makes the losses, norms and clip coefficients of `count` steps."""

    def make(count):
        return np.linspace(2, 1, count), np.arange(1.0, count + 1), np.full(count, 0.5)

    return make
