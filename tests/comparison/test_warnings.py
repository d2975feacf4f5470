"""Which results are flagged, and that the special cases are ones: torch itself shows it."""

import math
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
    (warning,) = warn_where_validation_disagrees(compared, against)
    assert (warning.code, warning.arms) == ("validation-disagrees", ("adam", "sgd"))
    assert "adam is better than sgd on the test examples, but 0.0300 worse" in warning.message
    agreeing = validation_of(adam=[0.93, 0.94], sgd=[0.90, 0.91])
    assert list(warn_where_validation_disagrees(compared, agreeing)) == []


def test_validation_that_puts_another_arm_first_is_a_caution():
    compared = compare_arms({"adam": [0.95, 0.93], "sgd": [0.92, 0.94]})
    against = validation_of(adam=[0.90, 0.91], sgd=[0.92, 0.92])
    (warning,) = warn_where_validation_disagrees(compared, against)
    assert warning.message == (
        "adam is first on the test examples, but on validation sgd is, by 0.0150."
    )
    nothing = validation_of(adam=[], sgd=[])
    assert list(warn_where_validation_disagrees(compared, nothing)) == []


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
        (["diverged", "failed", "finished"], "1 of 3 tuning trials diverged, 1 of 3 tuning trials"),
    ],
)
def test_an_arm_without_a_result_says_why(statuses, said):
    warning = warn_of_no_result("sgd", statuses)
    assert warning.message.startswith(f"sgd has no result: {said}")
    assert warning.message.endswith("so no learning rate was chosen.")
