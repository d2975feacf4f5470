"""The schedules against their formulas and against the classes of torch."""

import math
import pydoc
from pathlib import Path

import pytest
import torch
import yaml
from torch.optim import lr_scheduler

from gradcli.errors import UserError
from gradcli.optim import Constant, Cosine, OneCycle, Step

TOTAL = 50
SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "schedule").glob("*.yaml"))


def factors(schedule, total=TOTAL):
    return [schedule.factor(step, total) for step in range(total)]


def torch_rates(make_scheduler):
    """The learning rates that a scheduler of torch's gives an optimizer at 1."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make_scheduler(optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(TOTAL - 1):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def test_the_shipped_options():
    promised = "constant cosine onecycle step warmup_cosine"
    assert " ".join(path.stem for path in SHIPPED) == promised


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_option_reaches_the_full_learning_rate(path):
    config = yaml.safe_load(path.read_text())
    config.pop("search", None)  # the ranges of a search
    schedule = pydoc.locate(config.pop("_target_"))(**config)
    assert max(factors(schedule, 1000)) == pytest.approx(1.0)


def test_constant():
    assert factors(Constant()) == [1.0] * TOTAL


def test_cosine_is_the_closed_form_and_that_of_torch():
    ours = factors(Cosine(final=0.1))
    closed = [0.1 + 0.45 * (1 + math.cos(math.pi * t / TOTAL)) for t in range(TOTAL)]
    assert ours == pytest.approx(closed, rel=1e-12)
    theirs = torch_rates(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=TOTAL, eta_min=0.1))
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert 0 < factors(Cosine())[-1] < 0.001


def test_step_is_that_of_torch():
    # In floating point 0.14 * 50 is above 7.
    ours = factors(Step(milestones=[0.14, 0.3, 0.9], gamma=0.2))
    theirs = torch_rates(lambda o: lr_scheduler.MultiStepLR(o, [7, 15, 45], gamma=0.2))
    assert ours == pytest.approx(theirs, rel=1e-12)
    assert ours[6:8] == pytest.approx([1.0, 0.2])


# `SequentialLR` of torch 2.6 calls `step` in a way that is deprecated there.
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize(
    ("shape", "rest"),
    [
        (Constant(warmup=0.2), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        (Cosine(warmup=0.2), lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=40)),
        (
            Step(milestones=[0.5], gamma=0.1, warmup=0.2),
            lambda o: lr_scheduler.MultiStepLR(o, [20], gamma=0.1),
        ),
    ],
)
def test_warmup_is_linear_and_then_the_shape_has_the_rest(shape, rest):
    ours = factors(shape)
    assert ours[:10] == pytest.approx([(t + 1) / 11 for t in range(10)])

    def warmed_up(optimizer):
        rise = lr_scheduler.LinearLR(optimizer, start_factor=1 / 11, total_iters=10)
        return lr_scheduler.SequentialLR(optimizer, [rise, rest(optimizer)], milestones=[10])

    assert ours == pytest.approx(torch_rates(warmed_up), rel=1e-9)


@pytest.mark.parametrize("warmup", [0.1, 0.3, 0.33, 0.5])
def test_onecycle_is_that_of_torch(warmup):
    ours = factors(OneCycle(warmup=warmup, div_factor=10.0, final_div_factor=100.0))
    theirs = torch_rates(
        lambda optimizer: lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=TOTAL,
            pct_start=warmup,
            div_factor=10.0,
            final_div_factor=100.0,
            cycle_momentum=False,
        )
    )
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert ours[0] == pytest.approx(0.1)
    assert ours[-1] == pytest.approx(0.001)


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(warmup=0.5),
        Step(warmup=0.1),
        Cosine(warmup=0.05),
        OneCycle(),
        OneCycle(warmup=0.0),
        OneCycle(warmup=0.999),
    ],
    ids=lambda schedule: f"{type(schedule).__name__}-{schedule.warmup}",
)
@pytest.mark.parametrize("total", [1, 2, 3, 7, 1000])
def test_every_step_of_any_run_has_a_positive_factor_of_at_most_one(schedule, total):
    assert all(0 < factor <= 1 for factor in factors(schedule, total))


@pytest.mark.parametrize("schedule", [Constant(), Step(), Cosine(), OneCycle()])
def test_a_run_of_one_step_makes_it_in_full(schedule):
    assert schedule.factor(0, 1) == 1.0


@pytest.mark.parametrize(
    ("cls", "wrong", "where"),
    [
        (Constant, {"warmup": 1.0}, "schedule.warmup"),
        (Cosine, {"warmup": -0.1}, "schedule.warmup"),
        (Cosine, {"final": -1.0}, "schedule.final"),
        (Step, {"milestones": [30, 60]}, "schedule.milestones"),
        (Step, {"gamma": -0.1}, "schedule.gamma"),
        (OneCycle, {"warmup": 1.5}, "schedule.warmup"),
        (OneCycle, {"div_factor": 0.0}, "schedule.div_factor"),
        (OneCycle, {"final_div_factor": math.inf}, "schedule.final_div_factor"),
    ],
)
def test_values_out_of_range_name_their_key(cls, wrong, where):
    with pytest.raises(UserError) as caught:
        cls(**wrong)
    assert caught.value.where == where
