import json
import math

import numpy as np

from gradcli.inspection.inspection import Event, ProbeCost, ProbeResults, SideBySide
from gradcli.probes.measuring.finite_differences import Agreement, GradientCheck
from gradcli.views.json_output import dumps, inspection_json

FIRST_KEYS = ["schema", "target", "model", "step", "verdict", "layers", "probes", "findings"]
LAYER_KEYS = {
    "name",
    "kind",
    "depth",
    "weight_grad_norm",
    "input_grad_norm",
    "weight_rms",
    "update_ratio",
    "dead_fraction",
    "saturated_fraction",
}


def strict(text: str) -> object:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_keys_are_those_of_the_contract_and_come_first(make_inspection):
    result = strict(dumps(inspection_json(make_inspection(2))))
    assert sorted(FIRST_KEYS) == sorted(list(result)[: len(FIRST_KEYS)])
    assert result["schema"] == 2
    assert result["target"] == "model=deep_mlp activation=sigmoid"
    assert set(result["layers"][0]) >= LAYER_KEYS
    assert result["layers"][1]["name"] == "output"
    assert result["layers"][1]["weight_grad_norm"] == 0.1
    (finding,) = result["findings"]
    assert list(finding) == [
        *("code", "severity", "layer", "evidence", "threshold", "message", "try"),
        *("mend", "follows_from", "certainty"),
    ]
    assert finding["try"] == "activation=relu init=kaiming"


def test_what_is_unknown_is_not_a_number(make_run_inspection):
    event = Event(41, "non-finite", "hidden1", math.nan)
    result = strict(dumps(inspection_json(make_run_inspection(events=(event,)))))
    assert result["layers"][0]["dead_fraction"] == "nan"
    assert result["events"][0]["value"] == "nan"
    assert result["layers"][0]["grad_norm_before_clip"] == {
        "first": 1.0,
        "last": 0.1,
        "slope": -1.0,
    }
    assert result["convergence"]["course"] == "falling"


def test_probes_come_with_their_cost_or_the_reason_of_their_refusal(make_inspection):
    check = GradientCheck((Agreement("a", 0.5, 1.0, 1e-9),), ())
    probes = ProbeResults(
        found={"cosine": (0.5, math.nan), "check": check},
        costs={"signals": ProbeCost(0.2, 1.0), "cosine": ProbeCost(0.1, 3.0)},
        refused={"noise": "batch norm"},
    )
    result = strict(dumps(inspection_json(make_inspection(probes=probes))))["probes"]
    assert list(result) == ["signals", "cosine", "check", "noise"]
    assert result["signals"] == {"cost": {"seconds": 0.2, "passes": 1.0}}  # its result: the layers
    assert result["cosine"] == {"result": [0.5, "nan"], "cost": {"seconds": 0.1, "passes": 3.0}}
    assert result["check"]["wrong"] == ["a"]
    assert result["check"]["result"]["layers"][0]["relative_error"] == 0.5
    assert result["noise"] == {"refused": "batch norm"}


def test_several_are_a_list(make_inspection):
    both = tuple(make_inspection(label=label) for label in ("a=1", "a=2"))
    result = strict(dumps(inspection_json(SideBySide("m=1", "variants", both, ("note",)))))
    assert list(result) == ["schema", "target", "kind", "inspections", "notes"]
    assert [one["label"] for one in result["inspections"]] == ["a=1", "a=2"]
    assert set(FIRST_KEYS) - {"schema"} <= set(result["inspections"][0])


def test_arrays_are_lists_and_their_infinities_strings():
    value = {"a": np.array([[1.0, -np.inf]]), "b": np.float32(0.5), "c": np.int64(3)}
    assert strict(dumps(value)) == {"a": [[1.0, "-inf"]], "b": 0.5, "c": 3}
