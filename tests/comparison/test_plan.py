"""The plan of a comparison: it comes back as it was, and equal questions have equal ids."""

import json
from dataclasses import replace

import pytest

from gradcli.comparison.plan import Plan, StoredSearcher, plan_from_json
from gradcli.comparison.protocol import Arm, ArmSearch, Protocol, grid_around
from gradcli.comparison.results import ArmInfo, SearchInfo
from gradcli.comparison.search import Range
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


@pytest.fixture
def searching(plan):
    """The plan with a search of two settings, of which one is known from the start."""
    ranges = (Range("lr", 0.01, 1.0), Range("clip.max_norm", 0.1, 10.0))
    known = ((("lr", 0.1), ("clip.max_norm", 1.0)),)
    arms = tuple(
        replace(
            arm,
            info=replace(arm.info, learning_rates=(0.1,), ranges=ranges),
            grid=None,
            search=ArmSearch(ranges, 2, 1, (known,)),
        )
        for arm in plan.arms
    )
    search = SearchInfo("tpe", ("lr", "clip.max_norm"), 2, (1, 2))
    return replace(
        plan,
        arms=arms,
        info=replace(plan.info, arms=tuple(arm.info for arm in arms), search=search),
        protocol=replace(plan.protocol, budgets=(1,)),
        searcher=StoredSearcher("tpe", "gradcli.comparison.search.tpe.TPE", {"startup": 1}, 7),
    )


def test_a_search_comes_back_with_what_was_proposed_since(searching):
    stored = json.loads(json.dumps(searching.as_json()))
    found = plan_from_json(stored)
    assert found.as_json() == searching.as_json()
    assert (found.info, found.searcher) == (searching.info, searching.searcher)
    assert [arm.search for arm in found.arms] == [arm.search for arm in searching.arms]
    later = [[["lr", 0.2], ["clip.max_norm", 2.0]]]
    first, second = plan_from_json({**stored, "proposals": {"sgd": [later]}}).arms
    assert first.search.batches == (
        *searching.arms[0].search.batches,
        ((("lr", 0.2), ("clip.max_norm", 2.0)),),
    )
    assert second.search == searching.arms[1].search


def test_without_a_search_nothing_is_written_that_earlier_readers_refuse(plan):
    written = plan.as_json()
    assert "search" not in written["info"]
    assert "budgets" not in written["protocol"]
    assert "searcher" not in written
    for arm in written["info"]["arms"]:
        assert "ranges" not in arm
    for arm in written["arms"]:
        assert "search" not in arm


def test_another_search_is_another_question(searching):
    others = [
        replace(searching, searcher=replace(searching.searcher, seed=8)),
        replace(searching, searcher=replace(searching.searcher, arguments={"startup": 2})),
        replace(searching, protocol=replace(searching.protocol, budgets=())),
        replace(
            searching,
            arms=tuple(
                replace(arm, search=replace(arm.search, settings=3)) for arm in searching.arms
            ),
        ),
    ]
    assert len({one.request_id for one in [searching, *others]}) == 5
