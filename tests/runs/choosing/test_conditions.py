"""Conditions on runs, and the order of the list."""

import pytest

from gradcli.errors import UserError
from gradcli.runs import Order, conditions, list_rows, write_labels
from gradcli.runs.choosing.conditions import is_condition
from gradcli.runs.labels import Labels

ADAM, SGD, OLD = (
    "20260101T000000Z-a-1-aaaa",
    "20260102T000000Z-b-2-bbbb",
    "20260103T000000Z-old-cccc",
)
BOTH = "20260104T000000Z-compare-dddd"
MSE = {"name": "mse", "direction": "minimize"}


def facts(name, optimizer, rate, test, **settings):
    return {
        "info": {"name": name, "optimizer": optimizer, "model": "mlp", "learning_rate": rate},
        "result": {"test": test, "val": test + 0.01, "train_loss": 1 - test, "findings": ["spike"]},
        "progress": {"steps": 40, "epochs": 2},
        "settings": {"optimizer": optimizer, "init.bias": None, "compile": False, **settings},
    }


@pytest.fixture
def runs(make_run, make_comparison):
    """An older run than settings are, two runs, and a comparison."""
    folder = make_run(ADAM, **facts("a-1", "adam", 1e-3, 0.9, seed=1, **{"model.hidden": [8, 4]}))
    make_run(SGD, "diverged", **facts("b-2", "sgd", 0.1, 0.8, seed=2, **{"model.hidden": [8]}))
    make_run(OLD, "finished")
    make_comparison(BOTH)
    write_labels(folder, Labels(("good", "new"), "the first"))
    return folder.parent


def chosen(runs, *where, **options):
    rows, refused = list_rows(runs, conditions(where), **options)
    assert not refused
    return [row.run for row in rows]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("optimizer=adam", [BOTH, ADAM]),
        ("optimizer=adam kind=run", [ADAM]),
        ("optimizer=adam,sgd kind=run", [SGD, ADAM]),
        ("optimizer!=adam", [OLD, SGD]),
        ("name=a-*", [ADAM]),
        ("run=*-old-*", [OLD]),
        ("status=diverged", [SGD]),
        ("lr=0.001", [ADAM]),
        ("lr=1e-3", [ADAM]),
        ("optimizer.lr<0.01", [ADAM]),
        ("lr>=0.1", [SGD]),
        ("seed=2", [SGD]),
        ("seed>0 seed<2", [ADAM]),
        ("test_acc>0.85", [ADAM]),
        ("test_accuracy<=0.9", [SGD, ADAM]),
        ("test>0.85", [ADAM]),
        ("val=0.91", [ADAM]),
        ("train_loss<0.15", [ADAM]),
        ("tag=good", [ADAM]),
        ("tag=good tag=new", [ADAM]),
        ("tag=other", []),
        ("tag!=good", [BOTH, OLD, SGD]),
        ("note='the first'", [ADAM]),
        ("findings=spike", [SGD, ADAM]),
        ("model.hidden=[8,4]", [ADAM]),
        ("model.hidden=[8]", [SGD]),
        ("compile=false init.bias=null", [SGD, ADAM]),
        ("steps>=40", [SGD, ADAM]),
        ("kind=comparison", [BOTH]),
        ("tag= kind=run", [OLD, SGD]),
        ("note!=", [ADAM]),
        ("test_acc>85%", [ADAM]),
        ("tag=good test<=90%", [ADAM]),
    ],
)
def test_conditions_choose_runs(runs, where, expected):
    assert chosen(runs, where) == expected


def test_all_conditions_must_hold(runs):
    assert chosen(runs, "optimizer=adam", "tag=good") == [ADAM]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("optimzer=adam", "optimizer=VALUE"),
        ("OPTIMIZER=adam", "optimizer"),
        ("foo", "optimizer=adam"),
        ("lr<", "optimizer=adam"),
        ("lr=>0.001", "optimizer=adam"),
        ("lr>abc", "--where 'lr>0.1'"),
        ("seed>two", "--where 'seed>0.1'"),
        ("optimizer<5", "--where optimizer=sgd,adam"),
        ("when>yesterday", "--where 'when>2026-01-31T09:30'"),
    ],
)
def test_what_is_no_condition_is_refused_with_what_to_type(runs, text, hint):
    with pytest.raises(UserError) as caught:
        chosen(runs, text)
    assert hint in caught.value.hint


def test_a_time_counts_as_far_as_it_is_typed(make_run):
    days = {ADAM: 1, SGD: 2, OLD: 3}
    folders = [make_run(run, started=f"2026-01-{day:02}T12:30:00") for run, day in days.items()]
    runs, day, time = folders[0].parent, "2026-01-02", "12:30"
    assert chosen(runs, f"when={day}") == [SGD]
    assert chosen(runs, f"when<{day}") == [ADAM]
    assert chosen(runs, f"when<={day}") == chosen(runs, f"when<={day}T{time}") == [SGD, ADAM]
    assert chosen(runs, f"'when>{day} {time}'") == chosen(runs, f"when>{day}") == [OLD]


def test_a_name_is_itself_before_it_is_a_pattern(make_run):
    folder = make_run(ADAM, **facts("brack-[1]", "adam", 1e-3, 0.9))
    make_run(SGD, **facts("brack-1", "adam", 1e-3, 0.9))
    assert ADAM in chosen(folder.parent, "name=brack-[1]")


def test_the_rate_of_a_run_with_parameter_groups_is_that_of_each(make_run):
    groups = [{"name": "head", "learning_rate": 0.1}, {"name": "rest", "learning_rate": 0.5}]
    described = facts("grouped", "sgd", 0.1, 0.9, **{"optimizer.lr": 0.5})
    folder = make_run(ADAM, parameter_groups=groups, **described)
    rows, _ = list_rows(folder.parent, shown=["lr", "optimizer.lr"])
    assert rows[0].further == {"lr": (0.1, 0.5), "optimizer.lr": (0.5,)}
    assert chosen(folder.parent, "lr=0.5") == [ADAM]
    assert chosen(folder.parent, "optimizer.lr=0.1") == []


@pytest.mark.parametrize(
    ("options", "hint"),
    [({"order": Order("tst")}, "--sort test"), ({"shown": ["tst"]}, "--show test")],
)
def test_an_unknown_key_comes_with_the_option_that_it_was_for(runs, options, hint):
    with pytest.raises(UserError) as caught:
        chosen(runs, **options)
    assert caught.value.hint == hint


@pytest.mark.parametrize("text", ["", "  ", "'a"])
def test_an_empty_or_unfinished_condition_is_refused(text):
    with pytest.raises(UserError):
        conditions([text])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[("a=1", True), ("a=1 b<2", True), ("a-*", False), ("a b=1", False), ("", False)],
        *[("note='two words'", True), ("note='unfinished", False)],
    ],
)
def test_a_condition_is_told_from_a_name(text, expected):
    assert is_condition(text) is expected


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order("test_acc"), [ADAM, SGD, BOTH, OLD]),
        (Order("test_acc", is_reversed=True), [SGD, ADAM, BOTH, OLD]),
        (Order("train_loss"), [ADAM, SGD, BOTH, OLD]),
        (Order("when"), [BOTH, OLD, SGD, ADAM]),
        (Order("when", is_reversed=True), [BOTH, OLD, SGD, ADAM]),
        (Order("lr"), [ADAM, SGD, BOTH, OLD]),
        (Order("name"), [ADAM, SGD, BOTH, OLD]),
    ],
)
def test_the_list_is_sorted_best_first_and_what_is_unknown_last(runs, order, expected):
    assert chosen(runs, order=order)[: len(expected)] == expected


def test_lower_scores_come_first_if_they_are_better(make_run):
    worse = make_run(ADAM, info={"metric": MSE}, result={"test": 0.9})
    make_run(SGD, info={"metric": MSE}, result={"test": 0.1})
    assert chosen(worse.parent, order=Order("test_mse")) == [SGD, ADAM]
    assert chosen(worse.parent, "test<0.5") == [SGD]


def test_a_score_by_another_metric_is_not_an_accuracy(make_run):
    folder = make_run(ADAM, info={"metric": MSE}, result={"test": 0.9})
    make_run(SGD, result={"test": 0.95})
    assert chosen(folder.parent, "test_acc>0.5") == [SGD]
    assert chosen(folder.parent, "test_mse>0.5") == [ADAM]


def test_keys_that_were_asked_for_are_in_the_rows(runs):
    rows, _ = list_rows(runs, conditions(["lr<1"]), Order("seed"), ["model.hidden", "tag"])
    assert [row.further for row in rows] == [
        {"lr": (1e-3,), "seed": (1,), "model.hidden": ([8, 4],)},
        {"lr": (0.1,), "seed": (2,), "model.hidden": ([8],)},
    ]


def test_no_run_at_all_refuses_no_key(tmp_path):
    assert chosen(tmp_path, "optimzer=adam") == []
