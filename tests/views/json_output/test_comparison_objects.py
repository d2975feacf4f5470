import json
import math
from dataclasses import replace

from gradcli.comparison.results import Halving
from gradcli.comparison.verdicts import ComparisonWarning
from gradcli.views.json_output import comparison_json, dumps

#: The keys that the contract names, in its order; others may stand between and behind them.
CONTRACT = {
    "": "schema comparison data protocol metric target target_accuracy ranking pairs tuning trials "
    "failed",
    "data": "name train val test sha256",
    "ranking": "rank optimizer lr seeds test val test_accuracy val_accuracy train_loss "
    "steps_to_target seconds_to_target grad_norm diverged lr_at_edge",
    "pairs": "a b difference ci95 p_adjusted verdict seeds_needed",
    "tuning": "optimizer lr val val_accuracy diverged",
    "trials": "id optimizer lr seed stage status run",
}


def strict(text: str) -> object:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_keys_are_those_of_the_contract_in_its_order(make_comparison):
    result = comparison_json(make_comparison())
    for place, keys in CONTRACT.items():
        values = result[place] if place else result
        for item in values if isinstance(values, list) else [values]:
            assert [key for key in item if key in keys.split()] == keys.split()
    assert list(result["ranking"][0]["test_accuracy"]) == ["mean", "std", "ci95"]
    assert result["schema"] == 2


def test_numbers_come_through_unchanged(make_comparison):
    summary = make_comparison()
    result = strict(dumps(comparison_json(summary)))
    assert result == comparison_json(summary)
    best = result["ranking"][0]
    assert best["arm"] == best["optimizer"] == "adam"
    assert best["lr"] == 0.002
    assert best["seeds"] == [101, 102, 103]
    assert best["test_accuracy"]["ci95"] == list(summary.ranking[0].test_score.ci95)
    assert best["selection"]["optimism"] == summary.ranking[0].selection.optimism
    assert [pair["verdict"] for pair in result["pairs"]] == ["tie", "a", "a"]
    assert result["pairs"][0]["holm_interval"] == list(summary.pairs[0].holm_interval)
    assert sum(cell["chosen"] for cell in result["tuning"]) == 3
    assert [trial["test_accuracy"] for trial in result["trials"][:3]] == [0.978, 0.979, 0.9785]
    assert result["protocol"]["name"] == "quick"
    assert result["winner_command"] == summary.winner_command


def test_what_is_not_finite_is_a_string(make_comparison):
    result = strict(dumps(comparison_json(make_comparison())))
    assert result["ranking"][2]["steps_to_target"] == "inf"
    assert result["tuning"][-1]["val_accuracy"] == "nan"


def test_what_is_missing_is_null(make_comparison):
    arm = replace(make_comparison().ranking[0], selection=None, sensitivity=None)
    summary = make_comparison(ranking=(arm,), winner_command="")
    result = strict(dumps(comparison_json(summary)))
    assert result["ranking"][0]["selection"] is None
    assert result["ranking"][0]["lr_sensitivity"] is None
    for key in ("halving", "winner_command", "resume_command"):
        assert result[key] is None


def test_cautions_and_halving_are_there(make_comparison):
    warning = ComparisonWarning("few-seeds", ("adam", "sgd"), "Three seeds are few.")
    summary = make_comparison(warnings=(warning,), halving=Halving(9, 15, 900, 2610, 5850))
    result = strict(dumps(comparison_json(summary)))
    assert result["cautions"] == [
        {"code": "few-seeds", "arms": ["adam", "sgd"], "message": "Three seeds are few."}
    ]
    assert result["halving"]["steps_saved"] == 2610


def test_infinite_intervals_of_one_seed_are_json(make_comparison):
    summary = make_comparison()
    pair = replace(summary.pairs[0], deviation=math.nan, ci95=(-math.inf, math.inf))
    result = strict(dumps(comparison_json(replace(summary, pairs=(pair,)))))
    assert result["pairs"][0]["ci95"] == ["-inf", "inf"]
    assert result["pairs"][0]["deviation"] == "nan"
