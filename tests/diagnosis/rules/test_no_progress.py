"""Rules on trainings that learn nothing."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis.limits import LOSS_KEPT
from gradcli.diagnosis.rules import no_progress
from gradcli.records import DataInfo, EvalRecord, LossLevels

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)


def then(share, first=1.0):
    """Losses that begin at a multiple of that of guessing, and are at another from then on."""
    return LN_10 * np.r_[first, np.full(99, share)]


def plateau(run_evidence, losses=FLAT, **more):
    return list(no_progress.plateau(run_evidence(losses=losses, **more)))


def test_a_plateau_is_described_as_it_is(run_evidence):
    (found,) = plateau(run_evidence)
    assert (found.code, found.severity, found.layer) == ("plateau", "warning", None)
    assert found.evidence == {"first_loss": LN_10, "last_loss": LN_10, "steps": 100}
    assert found.message.startswith(
        "The loss has not fallen: it began at 2.30 and is 2.30 after 100 steps, although gradients "
        "arrive and the weights move. Guessing has 2.30. Check the data"
    )
    (found,) = plateau(run_evidence, then(0.99))
    assert found.message.startswith("The loss has hardly fallen: it began at 2.30 and is 2.28")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"losses": then(LOSS_KEPT.value + 0.01)}, 1),
        ({"losses": then(LOSS_KEPT.value - 0.01)}, 0),
        ({"losses": np.linspace(LN_10, 0.95 * LN_10, 100)}, 0),  # falling
        ({"losses": FLAT[:20]}, 1),
        ({"losses": FLAT[:19]}, 0),
        ({"losses": FLAT[:59], "own_loop": True}, 0),
        ({"losses": FLAT[:60], "own_loop": True}, 1),
    ],
)
def test_a_plateau_has_its_limits(run_evidence, changes, found):
    assert len(plateau(run_evidence, **changes)) == found


def test_a_loss_that_may_rise_by_design_gets_a_remark(run_evidence, setup_record):
    own = setup_record(loss_path=("Mean",), outputs=None)
    (found,) = plateau(run_evidence, np.full(100, 0.7), setup=own, own_loop=True)
    assert found.severity == "info"
    assert "Guessing has" not in found.message
    assert found.message.endswith("Some losses rise by design; if this one should fall, check the "
                                  "data.")  # fmt: skip


# Compared with guessing ---------------------------------------------------------------------

SQUARES = LossLevels(2.0, 2.0, 0.0, 2.0)
NUMBERS = DataInfo("mine", 1000, 100, 100, "", (8,), 0)
SEEN = (EvalRecord(10, 1, "val", 1.0, 1.0, 1.0, 1.0, 1.0),)


def of_numbers(run_evidence, losses, **more):
    more = {"loss": "mse", "levels": SQUARES, "data": NUMBERS} | more
    return run_evidence(losses=losses, **more)


def test_no_better_than_guessing_says_what_guessing_costs(run_evidence):
    (found,) = no_progress.plateau(of_numbers(run_evidence, np.full(100, 2.0)))
    assert (found.code, found.severity, found.override) == ("plateau", "warning", None)
    assert found.evidence["loss_of_guessing"] == 2.0
    assert found.message.startswith(
        "The model is no better than guessing: a constant output has a loss of 2.00, this one 2.00 "
        "after 100 steps"
    )


def test_large_updates_are_the_first_thing_to_change(run_evidence):
    losses, ratios = np.full(100, 2.0), (0.2, 0.2, 0.2)
    (found,) = no_progress.plateau(of_numbers(run_evidence, losses, ratios=ratios))
    assert found.override.startswith("optimizer.lr=")
    assert "try a lower learning rate first" in found.message


@pytest.mark.parametrize(
    ("losses", "found"),
    [
        (np.full(100, 3.0), 1),  # flat above guessing
        (np.linspace(9, 3, 100), 0),  # on its way there
        (np.linspace(2.2, 2.0, 100), 0),
        (np.full(100, 1.0), 0),
        (np.full(19, 2.0), 0),
        (3 + np.resize([2, -2, 1, -1], 100), 0),  # too noisy to tell
    ],
)
def test_only_a_loss_that_is_flat_is_stuck(run_evidence, losses, found):
    said = list(no_progress.plateau(of_numbers(run_evidence, losses)))
    assert len(said) == found
    if said:
        assert "is worse than guessing" in said[0].message


def test_without_measured_updates_nothing_is_said_of_a_loss_at_guessing(run_evidence):
    still = of_numbers(run_evidence, np.full(100, 2.0), ratios=(math.nan,) * 3)
    assert not list(no_progress.plateau(still))


def test_targets_that_are_all_the_same(run_evidence):
    same = of_numbers(run_evidence, FLAT, levels=LossLevels(0.0, 0.0, 0.0, 0.0))
    (found,) = no_progress.constant_targets(same)
    assert (found.code, found.severity) == ("labels", "warning")
    assert not list(no_progress.constant_targets(of_numbers(run_evidence, FLAT)))
    assert not list(no_progress.constant_targets(run_evidence(losses=FLAT)))


@pytest.mark.parametrize(("of_zero", "found"), [(2 * 8.9, 0), (2 * 9.1, 1), (math.nan, 0)])
def test_targets_three_deviations_from_0(run_evidence, of_zero, found):
    levels = LossLevels(2.0, 2.0, 0.0, 2.0, of_zero=of_zero)
    losses = np.full(100, 20.0)
    said = list(no_progress.unscaled_targets(of_numbers(run_evidence, losses, levels=levels)))
    assert [one.code for one in said] == ["loss-scale"] * found
    for how in (
        {"losses": np.r_[20.0, np.full(99, 1.0)], "evals": SEEN},  # they have come there
        {"losses": losses, "ratios": (1e-6,) * 3},  # updates that go nowhere
    ):
        assert not list(
            no_progress.unscaled_targets(of_numbers(run_evidence, levels=levels, **how))
        )


def test_what_is_learnt_by_heart(run_evidence):
    learnt = of_numbers(run_evidence, np.linspace(2, 0.5, 100), evals=(replace(SEEN[0], loss=2.1),))
    (found,) = no_progress.memorised(learnt)
    assert (found.code, found.severity) == ("labels", "warning")
    assert found.evidence["best_val_loss"] == 2.1
    assert "never below 2.10, and a constant output has 2.00" in found.message
    assert not list(no_progress.memorised(replace(learnt, evals=SEEN)))
