"""Which results are flagged, and that the special cases are ones: torch itself shows it."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gradcli.comparison.statistics import DIVERGED, compare_arms, summarise_scores
from gradcli.comparison.warnings import (
    SPECIAL_CASES,
    find_warnings,
    warn_of_no_result,
    warn_of_seeds_alone,
    warn_where_validation_disagrees,
)
from gradcli.records import ACCURACY

HIGH = np.array([0.97, 0.98, 0.975, 0.972, 0.978])
LOW = HIGH - [0.02, 0.021, 0.019, 0.022, 0.02]
OPTIMIZERS = {path.stem for path in Path(__file__).parents[2].glob("configs/optimizer/*.yaml")}
STEPS = 1000


def codes(**scores):
    return [(warning.code, warning.arms) for warning in find_warnings(compare_arms(scores))]


def last_update(optimizer_class, gradients, **settings):
    """The update that an optimizer makes of the last of many gradients."""
    parameter = torch.zeros(gradients.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = optimizer_class([parameter], foreach=False, **settings)
    for gradient in gradients:
        parameter.grad = gradient
        before = parameter.detach().clone()
        optimizer.step()
    return parameter.detach() - before


SGD, Adam, RMSprop = torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop
HUGE = 1e9
REDUCTIONS = {
    ("momentum", "sgd"): ((SGD, {"lr": 0.1, "momentum": 0.0}), (SGD, {"lr": 0.1})),
    ("nesterov", "sgd"): (
        (SGD, {"lr": 0.1, "momentum": 1e-9, "nesterov": True}),
        (SGD, {"lr": 0.1}),
    ),
    ("rmsprop", "momentum"): (
        (RMSprop, {"lr": 0.1 * HUGE, "eps": HUGE, "momentum": 0.9}),
        (SGD, {"lr": 0.1, "momentum": 0.9}),
    ),
    # The first moment of Adam is an average, the buffer of SGD a sum: ten times as large.
    ("adam", "momentum"): (
        (Adam, {"lr": 0.1 * HUGE * 10, "eps": HUGE, "betas": (0.9, 0.999)}),
        (SGD, {"lr": 0.1, "momentum": 0.9}),
    ),
    ("nadam", "nesterov"): (
        (torch.optim.NAdam, {"lr": 0.1 * HUGE * 10, "eps": HUGE, "momentum_decay": 1.0}),
        (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ),
    ("adam", "rmsprop"): (
        (Adam, {"lr": 0.1, "betas": (0.0, 0.99)}),
        (RMSprop, {"lr": 0.1, "alpha": 0.99}),
    ),
    ("adamw", "adam"): (
        (torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.0}),
        (Adam, {"lr": 0.1}),
    ),
}


@pytest.mark.parametrize("case", SPECIAL_CASES, ids=lambda case: f"{case.general}-{case.special}")
def test_an_optimizer_makes_the_updates_of_its_special_case(case):
    """Compared when the bias corrections, which a schedule could undo, have died away."""
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(STEPS, 3, generator=generator, dtype=torch.float64)
    general, special = (
        last_update(optimizer_class, gradients, **settings)
        for optimizer_class, settings in REDUCTIONS[case.general, case.special]
    )
    assert torch.allclose(general, special, rtol=1e-4, atol=0)


def test_the_special_cases_name_shipped_optimizers():
    assert {name for case in SPECIAL_CASES for name in (case.general, case.special)} <= OPTIMIZERS


def test_losing_to_a_special_case_is_flagged_and_winning_is_not():
    assert codes(sgd=HIGH, momentum=LOW) == [("special-case", ("momentum", "sgd"))]
    assert codes(sgd=LOW, momentum=HIGH) == []


def test_the_loser_may_be_ranked_above_its_special_case():
    """Its mean is higher thanks to seeds at which the special case diverged."""
    momentum, sgd = [*LOW, 0.99, 0.99, 0.99, 0.99], [*HIGH - 0.01, *[DIVERGED] * 4]
    comparison = compare_arms({"momentum": momentum, "sgd": sgd})
    assert (comparison.pairs[0].a, comparison.pairs[0].verdict) == ("momentum", "b")
    assert ("special-case", ("momentum", "sgd")) in codes(momentum=momentum, sgd=sgd)


def test_a_special_case_of_a_special_case_is_one():
    (warning,) = find_warnings(compare_arms({"sgd": HIGH, "adamw": LOW}))
    assert warning.message == (
        "adamw lost to its own special case sgd: adamw is adam at weight_decay=0, and adam is "
        "momentum at a very large eps and lr, and momentum is sgd at momentum=0. With all its "
        "settings tuned it could not lose, so its search was too narrow."
    )


def test_a_tie_and_a_loss_to_an_unrelated_optimizer_are_not_flagged():
    assert codes(sgd=HIGH, momentum=HIGH) == []
    assert codes(adam=HIGH, nesterov=LOW) == []
    assert codes(adam=HIGH, mine=LOW) == []


@pytest.mark.parametrize(("seeds", "flagged"), [(1, True), (2, True), (3, True), (4, False)])
def test_few_seeds_are_flagged(seeds, flagged):
    found = codes(adam=HIGH[-seeds:], mine=LOW[:seeds] + 0.02)
    assert found == ([("few-seeds", ("adam", "mine"))] if flagged else [])


def test_more_pairs_need_more_seeds():
    scores = {f"arm{index}": HIGH[:4] for index in range(3)}
    assert [code for code, _ in codes(**scores)] == ["few-seeds"]


def test_the_warning_on_few_seeds_says_what_they_detect_and_how_many_would_do():
    def message(seeds):
        return find_warnings(compare_arms({"adam": HIGH[:seeds], "mine": LOW[:seeds]}))[0].message

    three = compare_arms({name: HIGH[:3] + place for place, name in enumerate("abc")})
    assert find_warnings(three)[0].message == (
        "3 seeds reliably detect (80% power) only differences above 5.7 standard deviations; 5 "
        "seeds: above 3."
    )
    assert message(1) == (
        "1 seed cannot give a verdict; 4 seeds reliably detect (80% power) differences above 3 "
        "standard deviations."
    )
    assert message(2) == (
        "2 seeds reliably detect (80% power) only differences above 12 standard deviations; 4 "
        "seeds: above 3."
    )


def test_divergence_is_flagged_and_takes_its_seeds_from_the_pairs():
    half = np.where([True, True, True, False, False], DIVERGED, HIGH)
    assert codes(adam=half, mine=LOW) == [
        ("few-seeds", ("adam", "mine")),
        ("diverged", ("adam",)),
    ]


def test_an_arm_that_always_diverged_has_no_other_seeds():
    (warning,) = find_warnings(compare_arms({"adam": HIGH, "mine": [DIVERGED] * 5}))
    assert warning.message == "mine diverged at 5 of 5 seeds."


def test_trials_without_a_result_are_flagged():
    scores = np.array([*HIGH, math.nan])
    (warning,) = find_warnings(compare_arms({"adam": scores, "mine": [*HIGH, 0.9]}))
    assert (warning.code, warning.arms) == ("missing", ("adam",))
    assert warning.message == (
        "adam has no result at 1 of 6 seeds; its scores are those of the other 5."
    )


def test_arms_without_a_common_seed_do_not_lack_seeds():
    none = np.full(5, np.nan)
    found = find_warnings(compare_arms({"adam": HIGH, "mine": LOW, "other": none}))
    assert "0 seeds" not in " ".join(warning.message for warning in found)
    assert "missing" in [warning.code for warning in found]


def validation_of(**scores):
    return {name: summarise_scores(values) for name, values in scores.items()}


def test_validation_that_turns_a_verdict_around_is_a_caution():
    compared = compare_arms({"adam": [0.95, 0.951, 0.949], "sgd": [0.90, 0.902, 0.899]})
    assert compared.pairs[0].verdict == "a"
    against = validation_of(adam=[0.90, 0.91], sgd=[0.93, 0.94])
    (warning,) = warn_where_validation_disagrees(compared, against, ACCURACY)
    assert (warning.code, warning.arms) == ("validation-disagrees", ("adam", "sgd"))
    assert "adam is better than sgd on the test examples, but 0.0300 worse" in warning.message
    agreeing = validation_of(adam=[0.93, 0.94], sgd=[0.90, 0.91])
    assert list(warn_where_validation_disagrees(compared, agreeing, ACCURACY)) == []


def test_validation_that_puts_another_arm_first_is_a_caution():
    compared = compare_arms({"adam": [0.95, 0.93], "sgd": [0.92, 0.94]})
    against = validation_of(adam=[0.90, 0.91], sgd=[0.92, 0.92])
    (warning,) = warn_where_validation_disagrees(compared, against, ACCURACY)
    assert warning.message == (
        "adam is first on the test examples, but on validation sgd is, by 0.0150."
    )
    nothing = validation_of(adam=[], sgd=[])
    assert list(warn_where_validation_disagrees(compared, nothing, ACCURACY)) == []


def test_verdicts_over_seeds_alone_say_so():
    compared = compare_arms({"adam": [0.95, 0.951, 0.949], "sgd": [0.90, 0.902, 0.899]})
    (warning,) = warn_of_seeds_alone(compared.pairs)
    assert (warning.code, warning.arms) == ("seeds-only", ("adam", "sgd"))
    tie = compare_arms({"adam": [0.95, 0.93], "sgd": [0.92, 0.94]})
    assert list(warn_of_seeds_alone(tie.pairs)) == []


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (["diverged"] * 3, "all 3 tuning trials diverged"),
        (["failed"] * 2, "all 2 tuning trials failed"),
        (["diverged"], "its tuning trial diverged"),
        (["finished"] * 2, "the validation score of 2 tuning trials is not a number"),
        (["diverged", "failed", "finished"], "1 of 3 tuning trials diverged, 1 of 3 tuning trials"),
    ],
)
def test_an_arm_without_a_result_says_why(statuses, said):
    warning = warn_of_no_result("sgd", statuses)
    assert warning.message.startswith(f"sgd has no result: {said}")
    assert warning.message.endswith("so no learning rate was chosen.")


def test_each_number_of_seeds_that_is_too_small_is_flagged_with_its_own_arms():
    gone = math.nan
    found = find_warnings(
        compare_arms(
            {"adam": HIGH, "mine": LOW, "two": [*HIGH[:2], gone, gone, gone],
             "one": [*HIGH[:1], gone, gone, gone, gone]}
        )
    )  # fmt: skip
    few = [
        (one.message.split(" seed")[0], set(one.arms)) for one in found if one.code == "few-seeds"
    ]
    assert few == [("1", {"adam", "mine", "two", "one"}), ("2", {"adam", "mine", "two"})]


def test_an_arm_may_lack_some_results_and_diverge_at_other_seeds():
    scores = [DIVERGED, DIVERGED, math.nan, 0.9, 0.91]
    found = find_warnings(compare_arms({"adam": HIGH, "mine": scores}))
    said = {one.code: one.message for one in found if one.arms == ("mine",)}
    rest = "of 5 seeds; its scores are those of the other 2."
    assert said["diverged"] == f"mine diverged at 2 {rest}"
    assert said["missing"] == f"mine has no result at 1 {rest}"


CLEAR = {"adam": [0.95, 0.951, 0.949], "sgd": [0.90, 0.902, 0.899]}
TIED = {"adam": [0.95, 0.93], "sgd": [0.92, 0.94]}


@pytest.mark.parametrize("order", [("adam", "sgd"), ("sgd", "adam")])
@pytest.mark.parametrize("scores", [CLEAR, TIED])
def test_validation_that_sees_no_difference_is_no_caution(scores, order):
    even = validation_of(**{name: [0.9, 0.91] for name in order})
    assert list(warn_where_validation_disagrees(compare_arms(scores), even, ACCURACY)) == []


def test_validation_warns_of_a_verdict_for_the_arm_that_is_ranked_lower():
    """Momentum has the higher mean thanks to seeds at which the other diverged, and loses."""
    momentum, sgd = [*LOW, 0.99, 0.99, 0.99, 0.99], [*HIGH - 0.01, *[DIVERGED] * 4]
    compared = compare_arms({"momentum": momentum, "sgd": sgd})
    assert compared.pairs[0].verdict == "b"
    against = validation_of(momentum=[0.95, 0.95], sgd=[0.90, 0.90])
    (warning,) = warn_where_validation_disagrees(compared, against, ACCURACY)
    assert warning.arms == ("sgd", "momentum")
    assert "sgd is better than momentum on the test examples, but 0.0500 worse" in warning.message


def test_a_first_place_is_warned_of_beside_a_verdict_that_is_turned_around():
    compared = compare_arms({**CLEAR, "mine": [0.95, 0.949, 0.952]})
    first, second = compared.arms[0].name, compared.arms[1].name
    assert {first, second} == {"adam", "mine"}
    against = validation_of(**{first: [0.90, 0.90], second: [0.95, 0.95], "sgd": [0.92, 0.92]})
    arms = [one.arms for one in warn_where_validation_disagrees(compared, against, ACCURACY)]
    assert arms == [(first, "sgd"), (first, second)]


def test_an_arm_without_validation_is_not_first_there():
    compared = compare_arms(TIED)
    against = validation_of(adam=[0.9, 0.91], sgd=[])
    assert list(warn_where_validation_disagrees(compared, against, ACCURACY)) == []


def test_verdicts_over_test_examples_and_by_divergence_are_not_over_seeds_alone():
    diverged = compare_arms({"adam": HIGH, "sgd": [DIVERGED] * 5})
    assert (diverged.pairs[0].verdict, diverged.pairs[0].evidence) == ("a", "divergence")
    assert list(warn_of_seeds_alone(diverged.pairs)) == []
    (pair,) = compare_arms(CLEAR).pairs
    over_examples = replace(pair, tested_on="seeds-and-examples", examples=100)
    assert list(warn_of_seeds_alone([over_examples])) == []


def test_only_the_arms_of_such_verdicts_are_named_each_once():
    compared = compare_arms({**CLEAR, "mine": [0.9, 0.901, 0.9], "tied": [0.8, 0.99, 0.7]})
    (warning,) = warn_of_seeds_alone(compared.pairs)
    assert sorted(warning.arms) == ["adam", "mine", "sgd"]


def test_tuning_trials_that_only_some_lost_are_counted():
    message = warn_of_no_result("sgd", ["diverged", "stopped", "stopped"]).message
    assert message.startswith("sgd has no result: 1 of 3 tuning trials diverged, so no")
