"""`LearningRate`: our schedules and torch's schedulers, set step by step and after a resume."""

import io

import pytest
import torch
from torch.optim import lr_scheduler

from gradcli.errors import UserError
from gradcli.optim import (
    Constant,
    Cosine,
    LearningRate,
    OneCycle,
    Schedule,
    Step,
    TorchSchedule,
    build_schedule,
)

TOTAL = 40
SCHEDULES = [
    Constant(warmup=0.1),
    Step(),
    Cosine(warmup=0.05),
    OneCycle(),
    TorchSchedule(lr_scheduler.ExponentialLR, {"gamma": 0.95}),
    TorchSchedule(lr_scheduler.CosineAnnealingLR, {}),
    TorchSchedule(lr_scheduler.LinearLR, {"start_factor": 0.5}),
    TorchSchedule(lr_scheduler.PolynomialLR, {"power": 2.0}),
    TorchSchedule(lr_scheduler.CosineAnnealingWarmRestarts, {"T_0": 7}),
    TorchSchedule(lr_scheduler.OneCycleLR, {"max_lr": 0.5}),
    TorchSchedule(lr_scheduler.CyclicLR, {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 9}),
]


def optimizer(kind=torch.optim.SGD, rates=(0.4, 0.02), **kwargs):
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates]
    return kind(groups, **(kwargs or {"momentum": 0.9}))


def settings(of):
    return [{k: v for k, v in group.items() if k != "params"} for group in of.param_groups]


def name(schedule):
    if isinstance(schedule, TorchSchedule):
        return schedule.scheduler_class.__name__
    return type(schedule).__name__


def test_every_group_follows_from_its_own_learning_rate():
    ours = optimizer()
    rate = LearningRate(ours, Cosine(final=0.1, warmup=0.1), TOTAL)
    for step in range(TOTAL):
        rate.set(step)
        factor = Cosine(final=0.1, warmup=0.1).factor(step, TOTAL)
        assert [group["lr"] for group in ours.param_groups] == [0.4 * factor, 0.02 * factor]
        assert rate.current == 0.4 * factor


@pytest.mark.parametrize(
    ("scheduler_class", "kwargs", "filled"),
    [
        (lr_scheduler.ExponentialLR, {"gamma": 0.95}, {}),
        (lr_scheduler.StepLR, {"step_size": 6}, {}),
        (lr_scheduler.CosineAnnealingLR, {}, {"T_max": TOTAL}),
        (lr_scheduler.CosineAnnealingLR, {"T_max": 9, "eta_min": 0.01}, {}),
        (lr_scheduler.LinearLR, {}, {"total_iters": TOTAL}),
        (lr_scheduler.OneCycleLR, {"max_lr": 0.5}, {"total_steps": TOTAL}),
        (lr_scheduler.OneCycleLR, {"max_lr": [0.5, 0.1], "total_steps": 50}, {}),
        (lr_scheduler.CyclicLR, {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 9}, {}),
    ],
)
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_a_scheduler_of_torch_does_what_it_does_by_itself(scheduler_class, kwargs, filled, kind):
    chosen = {"momentum": 0.9} if kind is torch.optim.SGD else {"betas": (0.8, 0.99)}
    theirs = optimizer(kind, **chosen)
    scheduler = scheduler_class(theirs, **kwargs, **filled)
    ours = optimizer(kind, **chosen)
    rate = LearningRate(ours, build_schedule(scheduler_class, kwargs), TOTAL)
    for step in range(TOTAL):
        rate.set(step)
        for mine, group in zip(settings(ours), settings(theirs), strict=True):
            assert mine == {key: group[key] for key in mine}
        theirs.step()
        scheduler.step()


def test_the_optimizer_itself_is_not_touched_by_a_scheduler():
    ours = optimizer()
    LearningRate(ours, TorchSchedule(lr_scheduler.ExponentialLR, {"gamma": 0.5}), TOTAL)
    assert "initial_lr" not in ours.param_groups[0]
    assert "step" not in vars(ours)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_a_resumed_run_has_the_same_bits(schedule):
    ours = optimizer()
    rate = LearningRate(ours, schedule, TOTAL)
    expected = []
    for step in range(TOTAL):
        rate.set(step)
        expected.append(settings(ours))
        if step == 16:
            stored = io.BytesIO()
            torch.save([ours.state_dict(), rate.state_dict()], stored)
            stored.seek(0)
            saved_optimizer, saved_rate = torch.load(stored, weights_only=True)

    for resumed_first in (True, False):
        # Whichever is restored first, and whatever the optimizer's groups hold by then.
        resumed = optimizer()
        if resumed_first:
            resumed.load_state_dict(saved_optimizer)
        again = LearningRate(resumed, schedule, TOTAL)
        if not resumed_first:
            resumed.load_state_dict(saved_optimizer)
        again.load_state_dict(saved_rate)
        assert settings(resumed) == expected[16]
        for step in range(17, TOTAL):
            again.set(step)
            assert settings(resumed) == expected[step]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_any_step_may_follow_any_other(schedule):
    ours = optimizer()
    rate = LearningRate(ours, schedule, TOTAL)
    seen = {}
    for step in [*range(TOTAL), 5, 30, 0, TOTAL - 1]:
        rate.set(step)
        assert seen.setdefault(step, settings(ours)) == settings(ours)


def test_build_schedule_builds_ours_and_a_users_own():
    class Halved(Schedule):
        def __init__(self, *, by: float = 2.0) -> None:
            self.by = by

        def factor(self, step, total_steps):
            return 1.0 / self.by

    assert isinstance(build_schedule(Cosine, {"final": 0.1}), Cosine)
    rate = LearningRate(optimizer(), build_schedule(Halved, {"by": 4.0}), TOTAL)
    rate.set(0)
    assert rate.current == 0.1


def test_a_scheduler_that_needs_a_metric_is_refused_with_a_message():
    with pytest.raises(UserError, match="ReduceLROnPlateau needs metrics at every step"):
        build_schedule(lr_scheduler.ReduceLROnPlateau, {"patience": 3})


@pytest.mark.parametrize(
    ("scheduler_class", "kwargs", "words"),
    [
        (lr_scheduler.ExponentialLR, {}, "ExponentialLR refuses its settings.*gamma"),
        (lr_scheduler.LinearLR, {"start_factor": 2.0}, "LinearLR refuses its settings"),
        (lr_scheduler.LambdaLR, {}, "LambdaLR refuses its settings.*lr_lambda"),
    ],
)
def test_a_scheduler_that_refuses_its_settings(scheduler_class, kwargs, words):
    with pytest.raises(UserError, match=words) as caught:
        LearningRate(optimizer(), build_schedule(scheduler_class, kwargs), TOTAL)
    assert caught.value.where == "schedule"
