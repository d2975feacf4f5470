"""What `--json` prints is what the published schemas say, and they are strict enough to say no."""

import copy
import json
import math
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from gradcli.comparison.best_rate import Reason
from gradcli.comparison.results import TrialStatus
from gradcli.diagnosis.rules import RULES
from gradcli.inspection.inspection import Event, SideBySide
from gradcli.probes.registry import SHIPPED
from gradcli.records import FaultRecord, Status
from gradcli.views.json_output import SCHEMA, comparison_json, inspection_json, train_json

FIXTURES = Path(__file__).parents[2] / "fixtures" / "schema-1"
SCHEMAS = {
    path.name.removesuffix(".json"): json.loads(path.read_text())
    for path in (files("gradcli") / "schemas").iterdir()
}
TINY = ("data=mnist5k", "device=cpu", "threads=1", "model=rnn", "model.hidden=3", "max_steps=3")


def validator(name):
    return jsonschema.Draft202012Validator(SCHEMAS[name])


def check(name, document):
    """Validate a document, and return it; of several errors the deepest is shown."""
    error = jsonschema.exceptions.best_match(validator(name).iter_errors(document))
    assert error is None, f"{error.json_path}: {error.message}"
    return document


@pytest.fixture
def printed(gradcli):
    """Run `gradcli ARGUMENTS... --json`, and validate what it prints."""

    def run(schema, *words, code=0):
        answer = gradcli(*words, "--json")
        assert answer.code == code, answer.err
        return check(schema, json.loads(answer.out))

    return run


@pytest.fixture
def kept(runs_dir):
    """The runs that are kept for every schema, in the runs directory of the test."""
    shutil.copytree(FIXTURES, runs_dir)
    return runs_dir


# What the commands print


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_is_a_schema_that_needs_no_other_file(name):
    schema = SCHEMAS[name]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:gradcli:schema-{SCHEMA}:{name}"
    text = json.dumps(schema)
    used = {part.partition('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]}
    assert used == set(schema["$defs"])
    assert text.count('"$ref"') == text.count('"$ref": "#/$defs/')


def test_train(printed, runs_dir):
    assert printed("train", "train", *TINY)["status"] == "finished"
    diverging = ("optimizer=sgd", "optimizer.lr=1e30", "clip=none", "activation=relu")
    assert printed("train", "train", *TINY, *diverging, code=4)["train_loss"] == "nan"


def test_runs_with_parameter_groups(printed, runs_dir):
    groups = "optimizer.groups={biases:{where:{dimensions:1},lr:0.01},rest:{}}"
    found = printed("train", "train", *TINY, groups)["parameter_groups"]
    assert [group["name"] for group in found] == ["biases", "rest"]
    other = groups.replace("dimensions:1", "names:'output.*'")
    printed("train", "train", *TINY, other)
    first, second = (path.name for path in sorted(runs_dir.iterdir()))
    assert printed("runs-diff", "runs", "diff", first, second)["routing"]


@pytest.mark.parametrize("halving", [False, True])
def test_compare_optimizers(printed, runs_dir, trials_in_this_process, halving):
    few = ("protocol.learning_rates=2", "protocol.widenings=0", f"protocol.halving={halving}")
    words = ("compare-optimizers", "--optimizers", "sgd,adam", "--seeds", "2", *TINY, *few)
    result = printed("compare-optimizers", *words)
    assert result["tuning"]
    assert (result["halving"] is None) is not halving
    assert printed("compare-optimizers", "runs", "show", result["comparison"])
    assert printed("inspect-gradients", "inspect-gradients", result["comparison"])["inspections"]


def test_a_search_prints_what_its_schema_says(printed):
    few = ("--search", "lr,weight_decay", "protocol.search_settings=9", "protocol.halving=true")
    words = ("compare-optimizers", "--optimizers", "sgd,adam", "--seeds", "2", *TINY, *few)
    result = printed("compare-optimizers", *words)
    assert result["search"]["budgets"] == [2, 4, 9]
    for arm in result["ranking"]:
        assert set(arm["setting"]) == {"lr", "weight_decay"}
        assert [one["key"] for one in arm["key_sensitivity"]["keys"]] == ["lr", "weight_decay"]
        assert [one["settings"] for one in arm["budgets"]] == [2, 4, 9]


def test_inspect_gradients_of_a_fresh_model(printed, runs_dir):
    words = ("inspect-gradients", *TINY)
    found = printed("inspect-gradients", *words, "--probe", "all", "--check")
    assert set(found["probes"]) == {probe.name for probe in SHIPPED}
    refused = printed("inspect-gradients", "inspect-gradients", *TINY[:3], "--probe", "all")
    assert "refused" in refused["probes"]["hidden-states"]
    varied = printed("inspect-gradients", *words, "--vary", "activation=tanh,relu")
    assert [one["label"] for one in varied["inspections"]] == ["activation=tanh", "activation=relu"]


@pytest.mark.parametrize("name", ["finished", "interrupted", "diverged", "own"])
def test_a_run_that_is_shown_and_inspected(printed, kept, name):
    assert printed("train", "runs", "show", name)
    assert printed("inspect-gradients", "inspect-gradients", name)["kind"] == "run"


@pytest.mark.parametrize(
    ("words", "outcome"),
    [((), "nothing-to-try"), (("optimizer.lr=1",), "helps")],
)
def test_advice_that_was_tried(printed, runs_dir, words, outcome):
    small = ("data=mnist5k", "device=cpu", "threads=1", "model.hidden=[16]", "max_steps=40")
    printed("train", "train", *small, *words)
    found = printed("inspect-gradients", "inspect-gradients", "latest", "--try")
    assert found["trial"]["outcome"] == outcome


def test_a_comparison_that_is_shown_and_inspected(printed, kept):
    assert printed("compare-optimizers", "runs", "show", "comparison")["ranking"]
    assert printed("inspect-gradients", "inspect-gradients", "comparison")["inspections"]


def test_runs_prune(printed, kept):
    asked = ("runs", "prune", "--where", "status=finished")
    assert printed("runs-prune", *asked, "--dry-run")["runs"][0]["outcome"] == "announced"
    assert printed("runs-prune", "runs", "prune", "--checkpoints", "--yes")["what"] == "checkpoints"
    removed = printed("runs-prune", *asked, "--yes")
    assert removed["freed_bytes"] == removed["size_bytes"] > 0


def test_runs_list_and_runs_diff(printed, kept):
    assert len(printed("runs-list", "runs", "list")["runs"]) == 6
    assert printed("runs-diff", "runs", "diff", "finished", "interrupted")["settings"]
    assert printed("runs-diff", "runs", "diff", "finished", "own")["first_different_step"] == 1


def test_runs_compare(printed, kept):
    found = printed("runs-compare", "runs", "compare", "finished", "own", "--by", "train_loss")
    assert [one["verdict"] for one in found["pairs"]] == ["tie"]
    assert {one["set"] for one in found["sets"]} == {"finished", "own"}


def test_an_empty_list(printed, runs_dir):
    assert printed("runs-list", "runs", "list")["runs"] == []


def test_what_is_not_known_fits_too(make_summary, make_comparison, make_run_inspection):
    summary = make_summary(
        test_score=math.nan,
        train_loss=math.inf,
        status="lost",
        fault=FaultRecord(3, 1, "loss", None, math.nan, (1, 2)),
    )
    assert check("train", train_json(summary))["test_accuracy"] == "nan"
    check("compare-optimizers", comparison_json(make_comparison(status="interrupted")))
    event = Event(41, "non-finite", None, -math.inf)
    one = make_run_inspection(events=(event,), event_counts={"non-finite": 1})
    check("inspect-gradients", inspection_json(one))
    two = (replace(one, label="a"), replace(one, label="b", convergence=None))
    check("inspect-gradients", inspection_json(SideBySide("x", "variants", two)))


# What they refuse


def wrong(document, path, value):
    """A copy of the document with one value replaced; None takes its key away."""
    copied = copy.deepcopy(document)
    *ways, last = path
    inner = copied
    for way in ways:
        inner = inner[way]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return copied


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["schema"], 3),
        (["schema"], None),
        (["status"], "done"),
        (["more"], 1),
        (["data", "folder"], "x"),
        (["train_loss"], "NaN"),
        (["train_loss"], None),
        (["test_accuracy"], 1.5),
        (["steps"], -1),
        (["phases", "monitor"], None),
        (["layers", 0, "grad_norm_before_clip", "median"], 1.0),
        (["findings", 0, "severity"], "fatal"),
        (["findings", 0, "code"], "vanished"),
        (["findings", 0, "try"], 3),
        (["parameter_groups"], None),
        (["parameter_groups"], [{"name": "rest"}]),
    ],
)
def test_a_wrong_run_is_refused(printed, kept, path, value):
    document = printed("train", "runs", "show", "interrupted")
    assert not validator("train").is_valid(wrong(document, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["status"], "running"),
        (["pairs", 0, "verdict"], "c"),
        (["pairs", 0, "ci95"], [1.0]),
        (["ranking", 0, "test_accuracy", "std"], None),
        (["ranking", 0, "learning_rate"], 0.1),
        (["trials", 0, "status"], "lost"),
        (["trials", 0, "stage"], "testing"),
        (["cautions", 0, "code"], "beware"),
        (["protocol", "halving"], "no"),
    ],
)
def test_a_wrong_comparison_is_refused(printed, kept, path, value):
    document = printed("compare-optimizers", "runs", "show", "comparison")
    assert not validator("compare-optimizers").is_valid(wrong(document, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["verdict"], "well"),
        (["more"], 1),
        (["layers", 0, "depth"], "first"),
        (["layers", 0, "rank"], 1),
        (["probes", "noise"], {"cost": {"seconds": 1.0}}),
        (["probes", "noise"], {"cost": {"seconds": 1.0, "passes": 1.0}}),
        (["probes", "sharpness"], {"refused": 3}),
        (["not_tested", "nothing"], "--check"),
        (["probe_history", 0, "cost"], None),
        (["trial"], None),
        (["trial"], {"outcome": "helps"}),
        (["inspections"], []),
    ],
)
def test_a_wrong_inspection_is_refused(printed, kept, path, value):
    document = printed("inspect-gradients", "inspect-gradients", "finished")
    assert not validator("inspect-gradients").is_valid(wrong(document, path, value))


def test_wrong_inspections_side_by_side_are_refused(printed, kept):
    document = printed("inspect-gradients", "inspect-gradients", "comparison")
    for path, value in (
        (["inspections", 0, "more"], 1),
        (["inspections", 0, "schema"], 1),
        (["inspections", 1, "verdict"], None),
        (["kind"], "run"),
        (["schema"], None),
    ):
        assert not validator("inspect-gradients").is_valid(wrong(document, path, value))


def test_a_wrong_list_and_a_wrong_difference_are_refused(printed, kept):
    rows = printed("runs-list", "runs", "list")
    for path, value in ((["runs", 0, "when"], "today"), (["runs", 0, "run"], None)):
        assert not validator("runs-list").is_valid(wrong(rows, path, value))
    found = printed("runs-diff", "runs", "diff", "finished", "own")
    for path, value in ((["a", "status"], "done"), (["settings", 0, "a"], None), (["c"], 1)):
        assert not validator("runs-diff").is_valid(wrong(found, path, value))


# What they share with the code, and with one another


def test_the_values_that_they_list_are_those_of_the_code():
    codes = [code for rule in RULES for code in rule.codes]
    definitions = SCHEMAS["inspect-gradients"]["$defs"]
    assert set(definitions["code"]["enum"]) == {"healthy", "undetermined", *codes}
    assert set(definitions["run_status"]["enum"]) == set(get_args(Status))
    assert set(definitions["probes"]["properties"]) == {probe.name for probe in SHIPPED}
    reasons = SCHEMAS["find-lr"]["properties"]["reason"]["enum"]
    assert {one or "" for one in reasons} == set(get_args(Reason))
    trial = SCHEMAS["compare-optimizers"]["$defs"]["trial_status"]
    assert set(trial["enum"]) == set(get_args(TrialStatus))


def test_what_several_schemas_define_is_the_same_in_each():
    """Each file stands by itself, so that a validator needs no other: they must not drift."""
    shared = {}
    for schema in SCHEMAS.values():
        for name, definition in schema["$defs"].items():
            assert shared.setdefault(name, definition) == definition, name
    whole = ("type", "properties", "required", "additionalProperties")
    run = {key: SCHEMAS["train"][key] for key in whole}
    assert SCHEMAS["runs-diff"]["$defs"]["train"] == run
