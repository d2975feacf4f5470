"""The plan of a comparison: it comes back as it was, and equal questions have equal ids."""

import json
from dataclasses import replace

import pytest

from gradcli.comparison.plan import Plan, plan_from_json
from gradcli.comparison.protocol import Arm, Protocol, grid_around
from gradcli.comparison.results import ArmInfo
from gradcli.comparison.target import UNTOLD, TargetPlan
from gradcli.runs.stored import MalformedError


@pytest.fixture
def plan(make_comparison_info):
    grid = grid_around(0.1, 3, 2)
    config = {"data": {}, "optimizer": {"lr": 0.1}, "epochs": 3, "threads": 1}
    arms = (
        Arm(ArmInfo("sgd", "sgd", (), grid.rates), config, grid, 100),
        Arm(ArmInfo("adam clip=none", "adam", ("clip=none",), (0.1,)), config, None, 100),
    )
    info = make_comparison_info(arms=tuple(arm.info for arm in arms))
    return Plan(info, arms, Protocol((0,), (1, 2), 1, 2, (0.5,)), ("model=mlp",), ("a remark",))


def test_a_plan_comes_back_as_it_was_written(plan):
    stored = json.loads(json.dumps(plan.as_json()))
    found = plan_from_json(stored)
    assert found.as_json() == plan.as_json()
    assert (found.info, found.protocol) == (plan.info, plan.protocol)
    assert [arm.info for arm in found.arms] == [arm.info for arm in plan.arms]
    assert [arm.grid for arm in found.arms] == [plan.arms[0].grid, None]
    assert (found.train_overrides, found.remarks) == (("model=mlp",), ("a remark",))
    del stored["remarks"]
    assert plan_from_json(stored).remarks == ()


def test_how_the_target_is_set_comes_back_and_is_not_in_what_older_readers_check(plan):
    plan = replace(plan, target=TargetPlan("tuning", validates=True))
    stored = json.loads(json.dumps(plan.as_json()))
    assert plan_from_json(stored).target == plan.target
    older = json.loads(json.dumps(replace(plan, target=UNTOLD).as_json()))
    assert stored["info"] == older["info"]
    # A comparison from before there was such a plan is timed by the ends of epochs.
    del stored["target"]
    assert plan_from_json(stored).target == UNTOLD == TargetPlan("", validates=False)


def test_a_plan_without_arms_is_none(plan):
    with pytest.raises(MalformedError, match="has no arms"):
        plan_from_json({**plan.as_json(), "arms": []})


def test_the_id_of_a_question_is_that_of_what_its_result_depends_on(plan):
    info = plan.info
    asked = plan.request_id
    assert len(asked) == 16
    same = [
        replace(plan, train_overrides=(), remarks=()),
        replace(plan, info=replace(info, jobs=7, path="elsewhere", engine="serial")),
        replace(plan, target=TargetPlan("tuning", validates=True)),
    ]
    assert {one.request_id for one in same} == {asked}
    others = [
        replace(plan, arms=plan.arms[:1]),
        replace(plan, protocol=replace(plan.protocol, seeds=(1, 3))),
        replace(plan, info=replace(info, target_score=0.5)),
        replace(plan, target=TargetPlan("protocol", validates=True)),
        replace(plan, info=replace(info, data=replace(info.data, sha256="other"))),
    ]
    assert len({asked, *(one.request_id for one in others)}) == 6
