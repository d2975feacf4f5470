import json
import math

import pytest

from gradcli.records import PHASES, Finding
from gradcli.views.json_output import dumps, train_json

KEYS = [
    "schema",
    "run",
    "tags",
    "note",
    "status",
    "data",
    "model",
    "optimizer",
    "device",
    "epochs",
    "steps",
    "train_loss",
    "metric",
    "val",
    "test",
    "val_accuracy",
    "test_accuracy",
    "metrics",
    "seconds",
    "steps_per_second",
    "phases",
    "clipped_fraction",
    "layers",
    "findings",
    "notes",
    "parameter_groups",
    "clip_outlook",
]


def strict(text: str) -> object:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_keys_are_those_of_the_contract(make_summary):
    result = train_json(make_summary())
    assert list(result) == KEYS
    assert result["schema"] == 2
    assert list(result["data"]) == ["name", "train", "val", "test", "sha256"]
    assert list(result["model"]) == ["name", "parameters"]
    assert result["optimizer"]["name"] == "adam"
    assert list(result["seconds"]) == ["total", "first_step", "train"]
    assert list(result["phases"]) == list(PHASES)
    assert list(result["layers"][0]) == [
        "name",
        "grad_norm_before_clip",
        "grad_norm_after_clip",
        "clipped_fraction",
        "weight_norm",
        "update_ratio",
    ]
    assert result["layers"][0]["grad_norm_before_clip"] == {
        "first": 1.0,
        "last": 0.25,
        "mean": 0.5,
        "max": 2.0,
    }


def test_numbers_come_through_unchanged(make_summary):
    summary = make_summary(test_score=0.123456789012345)
    result = strict(dumps(train_json(summary)))
    assert result == train_json(summary)
    assert result["test_accuracy"] == 0.123456789012345


def test_findings_say_what_to_try(make_summary):
    finding = Finding("vanishing", "error", "hidden1", {"norm": 0.0}, "rule", "message", "a=b")
    (result,) = train_json(make_summary(findings=(finding,)))["findings"]
    assert list(result) == [
        *("code", "severity", "layer", "evidence", "threshold", "message", "try"),
        *("mend", "follows_from", "certainty"),
    ]
    assert result["try"] == "a=b"


@pytest.mark.parametrize(("certainty", "written"), [(0.875, 0.875), (math.nan, None)])
def test_findings_say_how_sure_they_are(make_summary, certainty, written):
    finding = Finding("healthy", "info", None, {}, "rule", "message", None, certainty=certainty)
    (result,) = train_json(make_summary(findings=(finding,)))["findings"]
    assert result["certainty"] == written


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")]
)
def test_what_is_not_finite_is_a_string_at_any_depth(make_summary, value, text):
    finding = Finding("non-finite", "error", None, {"loss": value}, "rule", "message", None)
    result = strict(dumps(train_json(make_summary(train_loss=value, findings=(finding,)))))
    assert result["train_loss"] == text
    assert result["findings"][0]["evidence"] == {"loss": text}
    assert strict(dumps({"a": [1.5, (value, {"b": value})]})) == {"a": [1.5, [text, {"b": text}]]}
