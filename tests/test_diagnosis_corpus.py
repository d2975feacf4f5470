"""The corpus that the diagnosis is scored on: what is drawn, and what counts as right."""

from __future__ import annotations

import json
import math
from collections import Counter

import diagnosis
import pytest
import torch
from diagnosis_corpus import calibration, scoring, tables
from diagnosis_corpus.cases import (
    ARCHITECTURES,
    HELD_ARCHITECTURES,
    HELD_OPTIMIZERS,
    OPTIMIZERS,
    VOCABULARY,
    Answer,
    Case,
    Kind,
    Training,
    draw_cases,
    tunable,
)
from diagnosis_corpus.loop import run_loop
from diagnosis_corpus.trial import OWN, Said, Trial
from scipy.stats import binomtest

from gradcli.config import compose_train

KINDS = diagnosis.all_kinds()
FAULTS = [kind for kind in KINDS if kind.is_fault]
OF_OWN_LOOPS = [kind for kind in FAULTS if kind.way == "own"]
OF_TRAIN = [kind for kind in FAULTS if kind.way == "train"]


def name_of(kind):
    return f"{kind.way}/{kind.name}"


# What is drawn.


def test_there_are_enough_kinds_with_names_of_their_own():
    assert len({kind.codes[0] for kind in FAULTS}) >= 22
    assert len(FAULTS) >= 60
    assert len(KINDS) - len(FAULTS) >= 30
    assert max(Counter(map(name_of, KINDS)).values()) == 1


@pytest.mark.parametrize("kind", FAULTS, ids=name_of)
def test_a_fault_has_answers_of_the_vocabulary_and_a_mend(kind):
    case = Case(kind, "held", 3)
    answer = case.training().answer
    assert set(kind.codes) <= VOCABULARY - {"healthy", "undetermined", "frozen"}
    assert answer.codes == kind.codes
    assert kind.by_override == (kind.way == "train")
    assert bool(answer.mend) == (kind.way == "own")
    assert (case.training().twin is None) == (kind.way == "fresh")
    assert all(word == word.lower() for group in answer.mend for word in group)


def test_sound_trainings_have_no_answer():
    for kind in KINDS:
        if not kind.is_fault:
            assert Case(kind, "tuning", 0).kind.draw is kind.draw
            assert kind.codes == ()


def test_the_parts_share_no_seed_and_the_held_one_has_nets_and_optimizers_of_its_own():
    used = {}
    for part in ("tuning", "held"):
        kinds = [kind for kind in KINDS if part == "held" or tunable(kind)]
        cases = [Case(kind, part, index) for kind in kinds for index in range(12)]
        used[part] = cases
    seeds = {part: {case.seed for case in cases} for part, cases in used.items()}
    assert not seeds["tuning"] & seeds["held"]
    settings = {part: [case.setting for case in cases] for part, cases in used.items()}
    for architecture, optimizer in settings["tuning"]:
        assert architecture not in HELD_ARCHITECTURES
        assert optimizer not in HELD_OPTIMIZERS
    assert {one for one, _ in settings["held"]} == set(ARCHITECTURES)
    assert {one for _, one in settings["held"]} == set(OPTIMIZERS)
    assert len(HELD_ARCHITECTURES) >= 2
    assert len(HELD_OPTIMIZERS) >= 3


def test_by_default_there_are_eight_of_each_fault_and_five_hundred_sound_ones():
    faults, sound = len(FAULTS), len(KINDS) - len(FAULTS)
    cases = list(
        draw_cases(KINDS, "held", faults * diagnosis.OF_EACH_FAULT, sound * diagnosis.OF_EACH_SOUND)
    )
    of_each = Counter(name_of(case.kind) for case in cases)
    assert min(of_each.values()) >= 8
    assert sum(of_each[name_of(kind)] for kind in FAULTS) >= 300
    assert len(cases) - sum(of_each[name_of(kind)] for kind in FAULTS) >= 500


def test_numbers_of_cases_are_kept_and_each_kind_has_its_turn():
    cases = list(draw_cases(KINDS, "held", len(FAULTS) + 3, 5))
    assert sum(case.kind.is_fault for case in cases) == len(FAULTS) + 3
    assert len(cases) == len(FAULTS) + 8
    assert {name_of(case.kind) for case in cases} >= {name_of(kind) for kind in FAULTS}


@pytest.mark.parametrize("kind", [k for k in KINDS if k.way != "own"], ids=name_of)
def test_a_config_is_drawn_alike_twice_and_can_be_composed(kind):
    case = Case(kind, "held", 5)
    drawn, again = case.training(), Case(kind, "held", 5).training()
    assert (drawn.plan, drawn.twin) == (again.plan, again.twin)
    plans = [drawn.plan if kind.way == "train" else drawn.plan[0]]
    if drawn.twin is not None:
        assert drawn.twin != drawn.plan
        plans.append(drawn.twin)
    for overrides in plans:
        compose_train(overrides, **OWN)


def state_of(loop):
    numbers = [loop.steps, loop.batch_size, loop.rate, loop.loss_scale, loop.clear]
    tensors = [*loop.model.state_dict().values(), loop.task.inputs, loop.task.labels]
    # Weighed by place, so that what is shuffled differs.
    return numbers, [
        float(one.double().flatten() @ torch.linspace(1, 2, one.numel(), dtype=torch.float64))
        for one in tensors
    ]


@pytest.mark.parametrize("kind", OF_OWN_LOOPS, ids=name_of)
def test_a_loop_is_drawn_alike_twice_and_names_layers_that_it_has(kind):
    training = Case(kind, "held", 2).training()
    loop, again = training.plan(), training.plan()
    assert repr(state_of(loop)) == repr(state_of(again))  # NaN of NaN
    assert set(training.answer.layers) <= {name for name, _ in loop.model.named_modules()}


class Silent:
    def step(self, loss):
        pass


def test_a_twin_is_the_same_training_without_the_fault():
    kind = next(one for one in OF_OWN_LOOPS if one.name == "not cleared")
    training = Case(kind, "tuning", 1).training()
    faulty, twin, mended = training.plan(), training.twin(), training.plan()
    mended.clear = True
    for loop in (faulty, twin, mended):
        loop.steps = 5
        loop.run(Silent())
    assert state_of(mended)[1] == state_of(twin)[1]
    assert state_of(faulty)[1] != state_of(twin)[1]


def test_a_loop_runs_under_the_monitor(tmp_path):
    kind = next(one for one in OF_OWN_LOOPS if one.name == "softmax")
    loop = Case(kind, "tuning", 0).training().plan()
    loop.steps = 3
    path, level = run_loop(loop, tmp_path)
    assert path.parent == tmp_path
    assert 0 <= level <= 1


# What counts as right.


def case_of(codes=("lr-too-high",), way="own", **of_kind):
    def draw(drawn, setting):
        return Training(Answer(codes), None)

    return Case(Kind("planted", way, draw, codes, **of_kind), "tuning", 0)


def said(code, severity="warning", layer=None, message="", override=None):
    return Said(code, severity, layer, message, override)


def test_a_right_answer_has_the_code_the_layer_and_the_mend():
    answer = Answer(("not-updated",), ("blocks.1",), (("optimizer",), ("add", "hold")))
    case = case_of(answer.codes)
    found = said("not-updated", layer="blocks.1", message="Let the optimizer hold blocks.1.")
    score = scoring.score(case, Trial((found,), 0.5, 0.9), answer)
    assert score.status == "fault"
    assert (score.right, score.root_first, score.mend) == (True, True, True)
    elsewhere = said("not-updated", layer="blocks.0", message="Look at the optimizer.")
    score = scoring.score(case, Trial((elsewhere,), 0.5, 0.9), answer)
    assert (score.code, score.layer, score.right, score.mend) == (True, False, False, False)


def test_a_cause_behind_its_symptom_is_right_but_not_first():
    answer = Answer(("lr-too-high",))
    found = (said("healthy", "info"), said("plateau"), said("lr-too-high"))
    score = scoring.score(case_of(), Trial(found, 0.1, 0.9), answer)
    assert (score.code, score.root_first, score.first) == (True, False, "plateau")


def test_a_remark_is_not_an_answer_and_undetermined_is_wrong_for_a_fault():
    answer = Answer(("lr-too-high",))
    for found in (said("lr-too-high", "info"), said("undetermined")):
        assert scoring.score(case_of(), Trial((found,), 0.1, 0.9), answer).right is False


def test_an_exception_is_wrong_for_a_fault_and_an_alarm_for_a_sound_training():
    broken = Trial((), error="ZeroDivisionError: division by zero")
    assert scoring.score(case_of(), broken, Answer(("lr-too-high",))).right is False
    assert scoring.score(case_of(()), broken, Answer()).false_alarm is True


def test_a_fault_within_a_point_of_its_twin_is_scored_as_healthy_unless_it_is_structural():
    answer = Answer(("lr-too-high",))
    near, far = Trial((), 0.80, 0.81), Trial((), 0.79, 0.81)
    assert scoring.score(case_of(), near, answer).status == "weak"
    assert scoring.score(case_of(), far, answer).status == "fault"
    assert scoring.score(case_of(structural=True), near, answer).status == "fault"


def test_what_learns_nothing_proves_nothing():
    score = scoring.score(case_of(), Trial((), 0.1, 0.15), Answer(("lr-too-high",)))
    assert (score.status, score.right) == ("void", None)
    score = scoring.score(case_of(()), Trial((said("plateau"),), 0.15), Answer())
    assert (score.status, score.false_alarm) == ("void", None)


@pytest.mark.parametrize(
    ("found", "alarm", "unsure"),
    [
        ((), False, False),
        ((said("healthy", "info"), said("frozen", "info")), False, False),
        ((said("plateau"),), True, False),
        ((said("undetermined"),), False, True),
        ((said("undetermined", "info"),), False, True),
    ],
)
def test_false_alarms_are_warnings_of_sound_trainings(found, alarm, unsure):
    score = scoring.score(case_of(()), Trial(found, 0.9), Answer())
    assert (score.false_alarm, score.undetermined) == (alarm, unsure)


def test_a_try_is_judged_against_the_twin_and_against_the_fault():
    case, answer = case_of(way="train", by_override=True), Answer(("lr-too-high",))
    found = (said("lr-too-high", override="optimizer.lr=0.1"),)

    def judged(tried, refused=""):
        score = scoring.score(case, Trial(found, 0.5, 0.9, tried, refused), answer)
        return score.try_given, score.try_helps, score.try_harms

    assert judged(0.87) == (True, True, False)
    assert judged(0.86) == (True, False, False)
    assert judged(0.47) == (True, False, False)
    assert judged(0.46) == (True, False, True)
    assert judged(None, "no such key") == (True, False, None)
    silent = scoring.score(case, Trial((said("lr-too-high"),), 0.5, 0.9), answer)
    assert (silent.try_given, silent.try_helps) == (False, None)


@pytest.mark.parametrize(("right", "of"), [(0, 1), (1, 1), (0, 8), (7, 8), (95, 100), (499, 500)])
@pytest.mark.parametrize("level", [0.95, 0.99])
def test_intervals_are_those_of_wilson(right, of, level):
    z = math.sqrt(2) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64)))
    interval = binomtest(right, of).proportion_ci(level, method="wilson")
    assert scoring.wilson(right, of, z) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_of_none_there_is_no_interval():
    assert all(map(math.isnan, scoring.wilson(0, 0)))
    assert tables.percent(0, 0) == "-"


def test_tables_count_faults_and_sound_ones_apart():
    answer = Answer(("lr-too-high",))
    right, wrong = (said("lr-too-high"),), (said("plateau"),)
    fault, sound = case_of(), case_of(())
    scored = [
        (fault, scoring.score(fault, Trial(right, 0.1, 0.9), answer)),
        (fault, scoring.score(fault, Trial(wrong, 0.1, 0.9), answer)),
        (fault, scoring.score(fault, Trial(right, 0.9, 0.9), answer)),
        (fault, scoring.score(fault, Trial(right, 0.1, 0.1), answer)),
        (sound, scoring.score(sound, Trial((), 0.9), Answer())),
    ]
    figures = tables.figures(scored)
    assert figures["code and layer"] == (1, 2)
    assert figures["root cause first"] == (1, 2)
    assert figures["false alarms"] == (1, 2)
    assert figures["of sound ones"] == (0, 1)
    assert "own: 2 fault, 1 healthy, 1 weak, 1 void" in list(tables.by_way(scored))
    assert list(tables.confusion(scored)) == [
        f"{'healthy':24} lr-too-high 1, healthy 1",
        f"{'lr-too-high':24} lr-too-high 1, plateau 1",
    ]


def test_what_is_not_as_wanted_is_listed():
    answer = Answer(("lr-too-high",))
    fault = case_of()

    def scored(right, wrong):
        answers = [said("lr-too-high")] * right + [said("plateau")] * wrong
        return [(fault, scoring.score(fault, Trial((one,), 0.1, 0.9), answer)) for one in answers]

    assert list(tables.misses(scored(20, 0))) == []
    listed = [line.partition(" (")[0].rpartition(" ")[0] for line in tables.misses(scored(7, 3))]
    assert listed == ["own: code and layer", "own: root cause first", "own: planted"]
    assert len(list(tables.misses(scored(9, 1)))) == 1


# How often each finding is right.


def counted(found, *, codes=("lr-too-high",), layers=(), level=0.1, twin=0.9):
    """What one training adds to the table."""
    answer = Answer(codes, layers)
    trial = Trial(tuple(found), level, twin)
    scored = scoring.score(case_of(codes), trial, answer)
    return calibration.count_findings([(trial, scored, answer)])


def test_a_finding_counts_as_said_and_as_right_if_it_fits_the_planted_fault():
    assert counted([said("lr-too-high")]) == {"lr-too-high": (1, 1)}
    assert counted([said("plateau")]) == {"plateau": (0, 1)}
    assert counted([said("lr-too-high"), said("spike")]) == {
        "lr-too-high": (1, 1),
        "spike": (0, 1),
    }
    here, elsewhere = said("lr-too-high", layer="a"), said("lr-too-high", layer="b")
    assert counted([here], layers=("a",)) == {"lr-too-high": (1, 1)}
    assert counted([elsewhere], layers=("a",)) == {"lr-too-high": (0, 1)}
    assert counted([here, elsewhere], layers=("a",)) == {"lr-too-high": (0, 1)}
    assert counted([here, elsewhere], layers=("a", "b")) == {"lr-too-high": (1, 1)}


def test_remarks_and_what_follows_from_a_cause_are_not_counted():
    beneath = Said("dead-units", "error", None, "", None, "lr-too-high")
    remark = said("vanishing", "info")
    assert counted([said("lr-too-high"), beneath, remark]) == {"lr-too-high": (1, 1)}


def test_whatever_is_said_of_a_sound_training_is_wrong_and_so_of_a_fault_too_weak_to_matter():
    assert counted([said("lr-too-high")], codes=(), level=0.9) == {"lr-too-high": (0, 1)}
    assert counted([said("lr-too-high")], level=0.895) == {"lr-too-high": (0, 1)}
    assert counted([said("lr-too-high")], level=0.1, twin=0.1) == {}  # void


def test_healthy_is_right_of_a_sound_training_and_of_a_weak_fault():
    healthy = [said("healthy", "info"), said("frozen", "info")]
    assert counted(healthy, codes=(), level=0.9) == {"healthy": (1, 1)}
    assert counted(healthy, level=0.895) == {"healthy": (1, 1)}
    assert counted(healthy) == {"healthy": (0, 1)}


def test_the_table_is_written_with_its_mix():
    trials = []
    for codes, found in ((("lr-too-high",), "lr-too-high"), ((), "healthy"), ((), "plateau")):
        trial = Trial((said(found, "info" if found == "healthy" else "error"),), 0.5, 0.9)
        answer = Answer(codes)
        trials.append((trial, scoring.score(case_of(codes), trial, answer), answer))
    text = calibration.written(calibration.table(iter(trials), "tuning"))
    assert json.loads(text) == {
        "part": "tuning",
        "cases": {"fault": 1, "healthy": 2, "weak": 0, "void": 0},
        "codes": {"healthy": [1, 1], "lr-too-high": [1, 1], "plateau": [0, 1]},
    }
    assert '"plateau": [0, 1]\n' in text
