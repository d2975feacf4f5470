"""Rules on the data: labels, the order of the examples, spikes and outliers."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis.limits import (
    AT_CHANCE,
    BLOCK_HEIGHT,
    BLOCK_LOW,
    FEWEST_ROWS,
    LOSS_KEPT,
    MOVED,
    ONE_CLASS,
    PASSED,
    SLOW_START,
    SOON,
    SPIKE_HARM,
    SPIKE_HARM_AT_LEAST,
    TINY_BATCH,
)
from gradcli.diagnosis.loss_trend import RateChange, Spike
from gradcli.diagnosis.rules import data
from gradcli.records import DataInfo, EvalRecord, FaultRecord, ParameterGroup

LN_10 = math.log(10)
FLAT = np.full(100, LN_10)
FAULT = FaultRecord(101, 1, "forward", "middle", math.nan, ())
SLOW = int(SLOW_START.value)
TINY = int(TINY_BATCH.value)


def accuracies(*values):
    return [EvalRecord(100, 1, "val", 4.0, one, 0.3, 1.0, 1.0) for one in values]


# Labels -------------------------------------------------------------------------------------


def labels(run_evidence, losses=FLAT, **more):
    return list(data.labels(run_evidence(losses=losses, **more)))


def test_labels_of_other_inputs_are_described_as_they_are(run_evidence):
    (found,) = labels(run_evidence, ratios=(0.001, 0.01, math.nan))
    assert (found.code, found.severity, found.layer) == ("labels", "warning", None)
    assert found.evidence == pytest.approx(
        {
            "last_loss": LN_10,
            "loss_of_guessing": LN_10,
            "val_accuracy": math.nan,
            "distance": 100 * 0.01,
        },
        nan_ok=True,
    )
    assert found.message == (
        "The labels do not seem to belong to the inputs, or the model does not see the inputs: "
        "gradients arrive and the weights move, but after 100 steps the loss is 2.30, while "
        "guessing has 2.30. Compare some inputs with their labels."
    )


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"losses": FLAT[:SLOW]}, 1),
        ({"losses": FLAT[: SLOW - 1]}, 0),
        ({"fault": FAULT}, 0),
        ({"ratios": (math.nan,) * 3}, 0),
        ({"ratios": (0.0, 0.0, 1.01 * MOVED.value / 100)}, 1),
        ({"ratios": (0.0, 0.0, MOVED.value / 100)}, 0),
        ({"losses": FLAT * (LOSS_KEPT.value + 0.01)}, 1),
        ({"losses": FLAT * (LOSS_KEPT.value - 0.01)}, 0),
        ({"losses": np.linspace(LN_10, 0.92 * LN_10, 100)}, 0),  # on its way
    ],
)
def test_labels_are_doubted_if_the_model_moves_and_stays_at_guessing(run_evidence, changes, found):
    assert len(labels(run_evidence, **changes)) == found


@pytest.mark.parametrize(("classes", "found"), [(1, 0), (2, 1), (3, 1)])
def test_labels_have_two_classes_or_more(run_evidence, setup_record, classes, found):
    setup = setup_record()
    setup = replace(setup, outputs=replace(setup.outputs, shape=(64, classes)))
    losses = np.full(100, math.log(max(2, classes)))
    assert len(labels(run_evidence, losses, setup=setup, own_loop=True)) == found


@pytest.mark.parametrize(
    ("kept", "accuracy", "words"),
    [
        (AT_CHANCE.value + 0.01, 0.1, "after 100 steps the loss is 2.21, while guessing has 2.30"),
        (AT_CHANCE.value + 0.01, 0.9, None),
        (
            AT_CHANCE.value - 0.01,
            0.1,
            "the loss on training batches fell to 2.16, but the accuracy",
        ),
        (AT_CHANCE.value - 0.01, 0.9, None),
        (LOSS_KEPT.value + 0.01, 0.9, None),
        (0.1, 0.1, "on other examples, 0.10, is that of guessing"),
        (0.1, math.nan, None),
    ],
)
def test_what_is_learned_by_heart_does_not_hold_for_others(run_evidence, kept, accuracy, words):
    losses = np.r_[LN_10, np.full(99, kept * LN_10)]
    found = labels(run_evidence, losses, evals=accuracies(accuracy))
    assert len(found) == (words is not None)
    for one in found:
        assert words in one.message
        assert one.evidence["val_accuracy"] == accuracy


@pytest.mark.parametrize(
    ("val", "test", "limit"),
    [
        (900, 100, 0.13),  # a share of 0.1, and three times the root of 0.09 / 900
        (0, 100, 0.19),
        (0, 0, 0.19),
        (0, 900, 0.13),
    ],
)
def test_the_accuracy_of_guessing_has_a_deviation(run_evidence, val, test, limit):
    given = {"losses": FLAT * 0.3, "data": DataInfo("d", 4000, val, test, "", (1, 28, 28), 10)}
    assert labels(run_evidence, evals=accuracies(limit - 0.001), **given)
    assert not labels(run_evidence, evals=accuracies(limit + 0.001), **given)


def test_the_last_accuracy_that_is_known_counts(run_evidence):
    assert labels(run_evidence, FLAT * 0.3, evals=accuracies(0.9, 0.1, math.nan))
    assert not labels(run_evidence, FLAT * 0.3, evals=accuracies(0.1, 0.9, math.nan))


def test_labels_that_are_wrong_from_one_step_on_are_dated(run_evidence):
    losses = np.r_[np.full(50, 0.5), np.full(50, LN_10)]
    (found,) = labels(run_evidence, losses)
    assert found.evidence["from_step"] == 51
    assert found.message.startswith("From step 51 on the labels")
    assert "At step 51 the loss rose at once from 0.500 to 2.30, although" in found.message
    (found,) = labels(run_evidence, np.r_[np.full(50, 9.0), np.full(50, LN_10)])
    assert "from_step" not in found.evidence
    assert found.message.startswith("The labels")


# The order of the examples ------------------------------------------------------------------

#: A block of one class, as a share of the loss of guessing.
BLOCK = np.linspace(1.05, 0.15, 12)


def in_blocks(run_evidence, count=4, rate_changes=(), **more):
    losses = more.pop("losses", np.tile(BLOCK, count) * LN_10)
    evidence = replace(run_evidence(losses=losses, **more), rate_changes=rate_changes)
    return list(data.data_order(evidence))


def test_blocks_of_one_class_are_counted_and_told(run_evidence):
    (found,) = in_blocks(run_evidence)
    assert (found.code, found.severity, found.layer) == ("data-order", "warning", None)
    assert found.evidence == {
        "blocks": 3,
        "last_loss": pytest.approx(np.median(BLOCK[-4:]) * LN_10),
    }
    assert "3 times the loss fell step by step" in found.message
    assert "then rose above it within 4 steps" in found.threshold
    assert not in_blocks(run_evidence, 3)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"rate_changes": (RateChange(10, 7.0),)}, 0),
        ({"rate_changes": (RateChange(10, 0.1),)}, 1),
        ({"batch_size": TINY}, 0),
        ({"batch_size": TINY + 1}, 1),
        ({"batch_size": 1}, 0),
        ({"batch_size": 0}, 1),  # not known
        ({"losses": np.r_[-0.1, np.tile(BLOCK, 4) * LN_10]}, 0),
        ({"losses": np.r_[0.0, np.tile(BLOCK, 4) * LN_10]}, 1),
    ],
)
def test_the_order_is_seen_in_a_loss_that_nothing_else_throws_up(run_evidence, changes, found):
    assert len(in_blocks(run_evidence, **changes)) == found


@pytest.mark.parametrize(("classes", "found"), [(2, 0), (3, 1)])
def test_an_order_takes_three_classes(run_evidence, setup_record, classes, found):
    setup = setup_record()
    setup = replace(setup, outputs=replace(setup.outputs, shape=(64, classes)))
    losses = np.tile(BLOCK, 4) * math.log(classes)
    assert len(in_blocks(run_evidence, losses=losses, setup=setup, own_loop=True)) == found


FALL = [1.2, 1.1, 1.0, 0.9, 0.8, 0.7, 0.6, 0.55, 0.5]


@pytest.mark.parametrize(
    ("losses", "starts"),
    [
        ([*FALL, 1.1], [9]),
        ([1.3, *FALL, 1.1], [10]),
        ([*FALL[1:], 1.1, 1.1], []),  # a fall of seven steps
        ([*FALL, 1.0], []),
        ([*FALL, 1.01], [9]),
        ([*FALL, 0.6, 0.7, 0.8, 1.1], [9]),
        ([*FALL, 0.49, 0.7, 1.1], [10]),
        ([*FALL[:4], 0.95, *FALL[5:], 1.1], [9]),  # all steps but one
        ([*FALL[:4], 0.95, 0.7, 0.75, 0.55, 0.5, 1.1], []),
        ([*FALL[:4], 0.9, *FALL[5:], 1.1], [9]),  # one that stays
        ([*FALL[:4], 0.95, *FALL[5:], 0.5, 1.1], [9]),
        ([*FALL[:4], 0.95, *FALL[5:], 0.6, 0.7, 0.8, 0.85, 1.1], []),  # five steps later
        ([*FALL, 1.1, *FALL[1:], 1.1], [9, 18]),
        ([*FALL, *FALL, *FALL, 1.1], [9, 18, 27]),
        # A fall, and a rise at once, but not the one after the other.
        ([*FALL, 0.6, 0.55, 0.65, 0.6, 0.7, 0.62, 0.72, 0.64, 0.5, 1.1], []),
        (FALL, []),
        ([1.0], []),
    ],
)
def test_a_block_is_a_fall_of_eight_steps_and_a_rise(losses, starts):
    assert data.block_starts(np.array(losses)) == starts


@pytest.mark.parametrize(("beyond", "starts"), [(-0.01, []), (0.01, [9])])
def test_a_block_rises_by_a_share_of_the_loss_of_guessing(beyond, starts):
    losses = [*np.linspace(2.0, 0.85, 9), 0.85 + BLOCK_HEIGHT.value + beyond]
    assert data.block_starts(np.array(losses)) == starts


@pytest.mark.parametrize(("lowest", "starts"), [(0.0, []), (-0.01, [9])])
def test_a_block_falls_below_the_loss_of_guessing(lowest, starts):
    losses = [*np.linspace(2.0, BLOCK_LOW.value + lowest, 9), 2.0]
    assert data.block_starts(np.array(losses)) == starts


ROWS = int(FEWEST_ROWS.value)


@pytest.mark.parametrize(
    ("share", "rows", "found"),
    [
        (ONE_CLASS.value, ROWS, 1),
        (ONE_CLASS.value - 0.01, ROWS, 0),
        (ONE_CLASS.value, ROWS - 1, 0),
    ],
)
def test_batches_that_nearly_hold_one_class(run_evidence, setup_record, share, rows, found):
    targets = ((7, share), (7, share), (3, 1.0), (1, 1.0))
    setups = tuple(
        setup_record(step=at, usual_target=one, targets_seen=rows) for at, one in enumerate(targets)
    )
    evidence = run_evidence(losses=FLAT, setup=setups[-1])
    without_others = replace(evidence, setups=(*setups[:2], setups[2]))
    told = list(data.data_order(without_others))
    assert len(told) == found
    for one in told:
        assert one.evidence == {"classes_alone": 2, "last_loss": LN_10}
        assert "of step 1 are of class 7, and nearly all of step 3 of class 3." in one.message
        assert (one.code, one.severity) == ("data-order", "warning")
    assert len(list(data.data_order(replace(evidence, setups=setups[:2])))) == 0


def test_two_classes_are_not_one(run_evidence, setup_record):
    def told(*labels):
        setups = tuple(
            setup_record(step=40 * at, usual_target=(label, 1.0), targets_seen=64)
            for at, label in enumerate(labels)
        )
        evidence = run_evidence(losses=FLAT, setup=setups[-1])
        return list(data.one_class(replace(evidence, setups=setups)))

    assert [one.code for one in told(7, 7, 7)] == ["labels"]
    assert told(7, 7, 3) == []


def test_it_takes_twenty_steps_to_judge_an_order(run_evidence, setup_record):
    setups = tuple(
        setup_record(step=at, usual_target=(at, 1.0), targets_seen=64) for at in range(3)
    )
    for count in (19, 20):
        evidence = run_evidence(losses=FLAT[:count], setup=setups[-1])
        told = list(data.data_order(replace(evidence, setups=setups)))
        assert len(told) == (count == 20)
        assert all(one.evidence["classes_alone"] == 3 for one in told)


# Spikes -------------------------------------------------------------------------------------

#: The loss rose from 0.5 to 2, and stayed there.
RISEN = np.r_[LN_10, np.full(49, 0.5), np.full(50, 2.0)]
RISE = Spike(51, "last", 40.0, loss_before=0.5, loss_after=2.0)


def spikes(run_evidence, *found, losses=RISEN, rate_changes=(), setups=None, **more):
    evidence = run_evidence(losses=losses, **more)
    evidence = replace(evidence, spikes=found, rate_changes=rate_changes)
    return list(data.spike(evidence if setups is None else replace(evidence, setups=setups)))


def test_a_spike_is_described_as_it_is(run_evidence):
    (found,) = spikes(run_evidence, RISE)
    assert (found.code, found.severity, found.layer) == ("spike", "warning", "last")
    assert found.evidence == {"step": 51, "factor": 40.0, "loss_before": 0.5, "loss_after": 2.0}
    assert found.message == (
        "At step 51 the gradient was 40.0 times its usual size, most of all in last. The loss rose "
        "from 0.500 to 2.00."
    )
    assert found.override == "clip=norm"
    assert found.mend.startswith("Clip the gradients")


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (1.0, SPIKE_HARM.value, 0),
        (1.0, SPIKE_HARM.value + 0.01, 1),
        (0.1, 0.1 + 0.99 * SPIKE_HARM_AT_LEAST.value * LN_10, 0),
        (0.1, 0.1 + 1.01 * SPIKE_HARM_AT_LEAST.value * LN_10, 1),
        (0.0, 2.0, 0),
        (-1.0, 2.0, 0),
        (2.1, 4.0, 0),  # the loss ends below
        (2.0, 4.0, 1),
    ],
)
def test_a_spike_does_harm_if_the_loss_stays_higher(run_evidence, before, after, found):
    one = replace(RISE, loss_before=before, loss_after=after)
    assert len(spikes(run_evidence, one)) == found


def test_a_fault_takes_the_chance_to_recover(run_evidence):
    one = replace(RISE, loss_before=2.1, loss_after=4.0)
    assert spikes(run_evidence, one, fault=FAULT)[0].severity == "warning"


def test_a_spike_of_a_training_that_ends_well_is_a_remark(run_evidence):
    losses = np.r_[LN_10, np.full(49, 0.1), np.full(50, 0.35)]
    one = replace(RISE, loss_before=0.1, loss_after=0.35)
    for last, severity in ((0.16, "info"), (0.17, "warning")):
        losses[50:] = last * LN_10
        assert spikes(run_evidence, one, losses=losses)[0].severity == severity
    losses[50:] = 0.16 * LN_10
    assert spikes(run_evidence, one, losses=losses, fault=FAULT)[0].severity == "warning"


@pytest.mark.parametrize(("batch_size", "found"), [(1, 0), (TINY, 0), (TINY + 1, 1), (0, 1)])
def test_with_tiny_batches_norms_jump_anyway(run_evidence, batch_size, found):
    assert len(spikes(run_evidence, RISE, batch_size=batch_size)) == found


def test_another_loss_from_that_step_on_is_no_spike(run_evidence, setup_record):
    setups = (setup_record(step=0), setup_record(step=50, loss_path=("MseLoss",)))
    later = replace(RISE, step=61)
    assert not spikes(run_evidence, RISE, setups=setups)
    assert spikes(run_evidence, later, setups=setups)[0].evidence["step"] == 61
    (found,) = spikes(run_evidence, RISE, later, setups=setups)
    assert found.evidence["step"] == 61


def test_the_first_harmful_spike_counts(run_evidence):
    harmless = replace(RISE, step=31, loss_after=0.5)
    below = replace(RISE, step=21, loss_before=-1.0)
    later = replace(RISE, step=71)
    (found,) = spikes(run_evidence, below, harmless, RISE, later)
    assert found.evidence["step"] == 51


@pytest.mark.parametrize(("step", "explains"), [(51, 1), (31, 1), (30, 0), (52, 0)])
def test_a_jump_of_the_rate_right_before_a_spike_explains_it(run_evidence, step, explains):
    jump = RateChange(step, 8.0)
    (found,) = spikes(run_evidence, RISE, rate_changes=(jump,))
    told = f"right after the learning rate was multiplied by 8.00 at step {step}. The loss"
    assert (told in found.message) == explains
    assert found.override == ("schedule=constant" if explains else "clip=norm")
    assert (found.mend == f"Remove the jump of the schedule at step {step}.") == explains


def test_of_several_jumps_the_largest_is_told(run_evidence):
    jumps = (RateChange(41, 6.0), RateChange(45, 9.0), RateChange(49, 0.1))
    (found,) = spikes(run_evidence, RISE, rate_changes=jumps)
    assert "multiplied by 9.00 at step 45" in found.message


def test_updates_that_were_too_large_come_before_a_spike(run_evidence, setup_record):
    ratios = np.full((5, 3), 0.01)
    ratios[4, 0] = 0.4  # at step 10
    jump = (RateChange(50, 8.0),)
    given = {"ratios": ratios, "setup": setup_record()}
    at_once = replace(RISE, step=10)
    assert not spikes(run_evidence, RISE, **given)
    assert spikes(run_evidence, at_once, **given)
    assert not spikes(run_evidence, replace(RISE, step=11), **given)
    assert spikes(run_evidence, RISE, rate_changes=jump, **given)
    # The first update, in a layer whose usual ones are too large.
    settled = np.full((5, 3), 0.01)
    settled[0] = 1.5
    given["ratios"] = settled
    assert not spikes(run_evidence, RISE, **given)
    assert spikes(run_evidence, RISE, rate_changes=jump, **given)


def test_updates_that_add_up_to_too_much_are_to_blame_before_a_spike(run_evidence, setup_record):
    """Under momentum, a first update of 0.2 becomes one of 2."""
    groups = (ParameterGroup(tuple(range(6)), 0.1, momentum=0.9),)
    given = {"ratios": (0.2,) * 3, "setup": setup_record(groups=groups)}
    assert not spikes(run_evidence, RISE, **given)
    assert spikes(run_evidence, RISE, rate_changes=(RateChange(50, 8.0),), **given)


# Outliers -----------------------------------------------------------------------------------

OUTLIER = Spike(
    51, "middle", 950.0, loss_before=1.0, loss_after=9.0, loss_at=60.0, loss_next=50.0,
    loss_previous=1.1, highest_before=1.2, factor_at=900.0, factor_previous=1.2,
)  # fmt: skip
#: Learned, with nearly half of the loss left.
LEARNED = np.r_[LN_10, np.full(99, 1.05)]


def test_an_outlier_is_described_as_it_is(run_evidence):
    (found,) = spikes(run_evidence, OUTLIER, losses=LEARNED)
    assert (found.code, found.severity, found.layer) == ("bad-batch", "warning", "middle")
    assert found.evidence == {
        "step": 51,
        "factor": 900.0,
        "loss_before": 1.0,
        "loss_at": 60.0,
        "loss_after": 9.0,
        "steps_to_recover": math.inf,
    }
    assert found.message == (
        "The batch of step 51 has an outlier: its loss was 60.0, while that of the steps before "
        "was 1.00, and its gradient 900 times as large as usual. The update with it left the loss "
        "at 9.00; it has not come back since."
    )
    assert "the batch of step 51" in found.mend


@pytest.mark.parametrize(
    ("steps", "severity", "words"),
    [
        (1.0, "info", "1 step later it was back"),
        (100 * PASSED.value, "info", "5 steps later it was back"),
        (100 * PASSED.value + 1, "warning", "6 steps later it was back"),
    ],
)
def test_an_outlier_that_training_has_passed_is_a_remark(run_evidence, steps, severity, words):
    one = replace(OUTLIER, steps_to_recover=steps)
    (found,) = spikes(run_evidence, one, losses=LEARNED)
    assert (found.code, found.severity) == ("bad-batch", severity)
    assert words in found.message
    ends_well = np.r_[LN_10, np.full(99, 0.1)]
    assert spikes(run_evidence, one, losses=ends_well)[0].severity == "info"
    assert spikes(run_evidence, one, losses=LEARNED, fault=FAULT)[0].severity == "warning"
    assert spikes(run_evidence, one, losses=FLAT)[0].severity == "warning"  # nothing is learned


def test_an_outlier_that_did_no_harm_is_no_fault(run_evidence):
    harmless = replace(OUTLIER, loss_after=1.0, steps_to_recover=5.0)
    assert not spikes(run_evidence, harmless, losses=LEARNED)
    (broken,) = spikes(run_evidence, harmless, losses=FLAT)
    assert (broken.code, broken.severity) == ("bad-batch", "warning")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, 1),
        ({"steps_to_recover": 5.0}, 0),
        ({"loss_at": 0.1 + 0.99 * SPIKE_HARM_AT_LEAST.value * LN_10}, 0),
        ({"loss_at": 0.1 + 1.01 * SPIKE_HARM_AT_LEAST.value * LN_10}, 1),
        ({"factor_at": 12.0, "loss_next": 0.1}, 0),  # of the batch, but it may have been chance
    ],
)
def test_an_outlier_may_set_a_training_back(run_evidence, changes, found):
    slow = replace(
        OUTLIER, loss_before=0.1, loss_after=0.1, loss_previous=0.1, highest_before=0.1,
        steps_to_recover=6.0,
    )  # fmt: skip
    losses = np.r_[LN_10, np.full(99, 1.05)]
    told = spikes(run_evidence, replace(slow, **changes), losses=losses)
    assert [one.code for one in told] == ["bad-batch"] * found


def test_a_jump_of_the_rate_is_to_blame_before_the_batch(run_evidence):
    (found,) = spikes(run_evidence, OUTLIER, losses=LEARNED, rate_changes=(RateChange(51, 8.0),))
    assert (found.code, found.override) == ("spike", "schedule=constant")


@pytest.mark.parametrize(
    ("since", "found"),
    [(51, 1), (51 + int(SOON.value), 1), (52 + int(SOON.value), 0), (50, 0)],
)
def test_an_outlier_may_kill_a_layer(run_evidence, since, found):
    norms = np.ones((100, 3))
    norms[since - 1 :, 1] = 0.0
    harmless = replace(OUTLIER, loss_after=1.0, steps_to_recover=1.0)
    told = spikes(run_evidence, harmless, losses=LEARNED, norms=norms)
    assert [(one.code, one.severity) for one in told] == [("bad-batch", "warning")] * found
