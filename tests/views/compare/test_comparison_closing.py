# ruff: noqa: RUF001 (the cross of a diverged trial is not a letter)
import io
import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from gradcli.comparison.results import ArmInfo, FurtherSummary, Halving, LearningRateSensitivity
from gradcli.comparison.statistics import summarise_scores
from gradcli.comparison.verdicts import ComparisonWarning, PairResult, Selection
from gradcli.records import ACCURACY, Metric
from gradcli.views.compare.comparison_closing import comparison_closing_screen
from gradcli.views.compare.verdict_sentences import (
    grounds,
    halving_result,
    interval,
    ranked_sets,
    verdict,
    warning_sentences,
)
from gradcli.views.json_output import comparison_json

WHOLE = ("gradcli train", "gradcli compare", "gradcli runs", "runs/")
"""What is in the lines that are to be copied."""


def drawn(summary, width: int = 80, *, terminal: bool = True, all_pairs: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    console.print(comparison_closing_screen(summary, all_pairs=all_pairs), crop=False)
    return file.getvalue()


def test_notes_are_among_the_remarks(make_comparison):
    text = drawn(make_comparison(notes=("The trials run in this process.",)), width=100)
    assert "note        The trials run in this process." in text


def test_a_table_has_the_further_metrics_the_first_ones_in_a_narrow_terminal(make_comparison):
    summary = make_comparison()
    names = ("mae", "r2", "within 0.5", "a rather long name")
    arms = [
        replace(
            arm,
            further=tuple(
                FurtherSummary(
                    Metric(name, "maximize"),
                    val=summarise_scores([0.5]),
                    test=summarise_scores([place, place + 0.02]),
                )
                for place, name in enumerate(names)
            ),
        )
        for arm in summary.ranking[:-1]
    ]
    summary = replace(summary, ranking=(*arms, summary.ranking[-1]))
    lines = [line.rstrip() for line in drawn(summary).splitlines()]
    first = next(at for at, line in enumerate(lines) if "test mae" in line)
    assert lines[first : first + 5] == [
        "                test mae  test r2  test within 0.5  test a rather long name",
        "     optimizer  mean      mean     mean             mean",
        "1-2  adam       0.0100    1.0100   2.0100           3.0100",
        "1-2  rmsprop    0.0100    1.0100   2.0100           3.0100",
        "  3  sgd        -         -        -                -",
    ]
    assert "0.0141" in drawn(summary, width=100)  # the deviations come with more room
    narrow = drawn(summary, width=40)
    assert "test mae" in narrow
    assert "a rather long name" not in narrow


def test_the_ending_at_80_columns(make_comparison):
    lines = [line.rstrip() for line in drawn(make_comparison()).splitlines()]
    assert lines == [
        "finished  20260105-101500-compare-77aa",
        "mnist 50,000 images, mlp 235,146 parameters, protocol quick, 1 epoch",
        "",
        "                       test accuracy  over seeds                         steps",
        "     optimizer  lr     mean           95% interval      std     seeds  to 0.97",
        "1-2  adam       0.002  0.9785         0.9773 to 0.9797  0.0005      3      390",
        "1-2  rmsprop    0.001  0.9778         0.9758 to 0.9798  0.0008      3      390",
        "  3  sgd        0.2    0.9656         0.9641 to 0.9671  0.0006      3    never",
        "",
        "                val acc  lr      val accuracy  val accuracy",
        "     optimizer  by lr    chosen  when chosen   fresh seeds    change",
        "1-2  adam       ▁▄█▄▁    0.002   0.9805        0.9785        -0.0020",
        "1-2  rmsprop    ▁▄█▄▁    0.001   0.9798        0.9778        -0.0020",
        "  3  sgd        ▁▄█▄×    0.2     0.9676        0.9656        -0.0020",
        "val acc by lr, the lowest first: ▁ 0.9500  █ 0.9700  × diverged",
        "",
        "ranking     {adam, rmsprop} cannot be told apart; sgd is behind both.",
        "verdicts    adam and rmsprop tie: 0.0007 apart (-0.0002 to 0.0016, p=0.12, 3",
        "            seeds). About 7 seeds would separate them.",
        "            adam is better than sgd: 0.0129 apart (0.0125 to 0.0133, p=0.0021, 3",
        "            seeds).",
        "            rmsprop is better than sgd: 0.0122 apart (0.0115 to 0.0129,",
        "            p=0.0021, 3 seeds).",
        "            In brackets: the 95% interval over seeds, corrected for 3 pairs",
        "            (Holm).",
        "trials      9 finished; 52 s with 2 jobs at a time",
        "test set    10,000 images: one test image is 0.01 points of accuracy",
        "",
        "best        gradcli train optimizer=adam optimizer.lr=0.002 seed=101 threads=1",
        "comparison  runs/20260105-101500-compare-77aa",
        "next        gradcli runs show runs/20260105-101500-compare-77aa",
    ]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        (
            [390, math.inf, 780],
            "sgd reached 0.97 with 2 of 3 seeds, in 585 steps (the median of those).",
        ),
        ([math.inf, math.inf, 780], "sgd reached 0.97 with 1 of 3 seeds, in 780 steps."),
        ([math.inf, math.nan, 780], "sgd reached 0.97 with 1 of 2 seeds, in 780 steps"),
        ([math.inf, math.inf, math.inf], None),
        ([390, 390, math.nan], None),
    ],
)
def test_a_target_that_some_seeds_reach_is_not_told_as_never_alone(make_comparison, steps, says):
    summary = make_comparison()
    others = tuple(one for one in summary.trials if one.arm != "sgd")
    found = iter(steps)
    sgd = tuple(
        replace(one, measured={**one.measured, "steps_to_target": next(found)})
        for one in summary.trials
        if one.arm == "sgd"
    )
    text = drawn(replace(summary, trials=(*others, *sgd)), width=120)
    assert ("reached 0.97" in text) == (says is not None)
    assert says is None or f"target      {says}" in text


@pytest.mark.parametrize(
    ("evidence", "corrected"), [("none", False), ("divergence", True), ("scores", True)]
)
def test_brackets_are_explained_only_if_there_are_any(make_comparison, evidence, corrected):
    pairs = [replace(pair, evidence=evidence) for pair in make_comparison().pairs]
    text = drawn(make_comparison(pairs=tuple(pairs)), 140)
    assert ("In brackets:" in text) == (evidence == "scores") == (" (0.0125 to" in text)
    assert ("corrected for 3 pairs (Holm)." in text) == corrected
    same = tuple(replace(pair, evidence=evidence, difference=0.0) for pair in pairs)
    assert "In brackets:" not in drawn(make_comparison(pairs=same), 140)


def test_a_wide_terminal_and_a_pipe_show_more(make_comparison):
    for text in (drawn(make_comparison(), 140), drawn(make_comparison(), 80, terminal=False)):
        for word in ("0.0812", "0.512", "34%", "1.9 s", "5: 0.0003 to 0.01", "0.001 to 0.005"):
            assert word in text
    assert "\x1b" not in drawn(make_comparison(), terminal=False)


@pytest.mark.parametrize("width", [40, 80, 140])
def test_prose_wraps_and_commands_stay_whole(make_comparison, width):
    command = "gradcli train optimizer=adam " + " ".join(f"model.option{i}={i}" for i in range(20))
    warning = ComparisonWarning("few-seeds", ("adam",), "Three seeds are not many. " * 8)
    lines = drawn(make_comparison(winner_command=command, warnings=(warning,)), width).splitlines()
    assert [line for line in lines if line.endswith(command)]
    prose = [line for line in lines if not any(word in line for word in WHOLE)]
    assert max(map(len, prose)) <= width


def test_it_says_what_was_lost_and_why(make_comparison, make_trial):
    summary = make_comparison(
        status="failed",
        trials=(
            make_trial(status="diverged"),
            *(make_trial(status="failed", error="killed", seed=seed) for seed in range(8)),
        ),
        failed=8,
    )
    first, *others = summary.ranking
    summary = replace(summary, ranking=(replace(first, diverged=1, missing=2), *others))
    text = drawn(summary, 140)
    for word in ("failed  2026", "1 diverged, 2 missing", "8 failed, 1 diverged"):
        assert word in text
    assert text.count("killed") == 5
    assert "and 3 more failed trials" in text


def test_a_reader_is_warned(make_comparison):
    summary = make_comparison(
        warnings=(ComparisonWarning("special-case", ("momentum", "sgd"), "momentum lost to sgd."),)
    )
    first, *others = summary.ranking
    summary = replace(summary, ranking=(replace(first, learning_rate_at_edge=True), *others))
    text = drawn(summary)
    assert "momentum lost to sgd." in text
    assert "adam did best at an end of its learning rates" in text


def test_the_same_warning_about_several_arms_is_one_sentence():
    several = [
        ComparisonWarning("few-seeds", ("a", "b", "c"), "3 seeds are few."),
        *(
            ComparisonWarning("missing", (arm,), f"{arm} has no result at 2 of 2 seeds.")
            for arm in "abc"
        ),
        ComparisonWarning("missing", ("d",), "d has no result at 1 of 2 seeds."),
        ComparisonWarning("no-arm-named", ("a",), "A sentence about it."),
    ]
    assert warning_sentences(several) == [
        "3 seeds are few.",
        "a, b and c: each has no result at 2 of 2 seeds.",
        "d has no result at 1 of 2 seeds.",
        "A sentence about it.",
    ]


def test_arms_that_did_best_at_an_end_share_one_sentence(make_comparison):
    summary = make_comparison()
    ranking = tuple(replace(arm, learning_rate_at_edge=True) for arm in summary.ranking)
    text = " ".join(drawn(replace(summary, ranking=ranking)).split())
    assert "adam, rmsprop and sgd did best at an end of their learning rates: better ones" in text
    assert text.count("did best") == 1


@pytest.mark.parametrize(
    ("low", "open_ended", "said"),
    [
        (0.002, False, "0.002 only"),
        (0.002, True, "0.002 or beyond"),
        (0.001, False, "0.001 to 0.002 (0.3 decades)"),
        (0.001, True, "0.001 to 0.002 (at least 0.3 decades)"),
    ],
)
def test_a_range_of_one_learning_rate_has_no_width(make_comparison, low, open_ended, said):
    first, *others = make_comparison().ranking
    known = LearningRateSensitivity(0.002, low, 0.002, False, open_ended)
    ranking = (replace(first, sensitivity=known), *others)
    assert said in drawn(replace(make_comparison(), ranking=ranking), 140)


def test_an_interrupted_comparison_says_how_to_go_on(make_comparison):
    resume = "gradcli compare-optimizers --resume runs/20260105-101500-compare-77aa"
    text = drawn(make_comparison(status="interrupted", resume_command=resume, winner_command=""))
    assert f"next        {resume}" in text
    assert "best  " not in text


def test_a_best_rate_at_an_end_is_not_presented_as_the_answer(make_comparison):
    summary = make_comparison(extend_command="gradcli compare-optimizers --lrs 1,2,4")
    ranking = (replace(summary.ranking[0], learning_rate_at_edge=True), *summary.ranking[1:])
    at_end = replace(summary, ranking=ranking)
    text = drawn(at_end, 140)
    assert "so far      at the end of the rates tried (lr 0.002)" in text
    assert "extend      gradcli compare-optimizers --lrs 1,2,4" in text
    assert "0.002 (end)" in text
    assert not any(line.startswith("best") for line in text.splitlines())
    found = comparison_json(at_end)
    assert (found["winner_at_edge"], found["extend_command"]) == (True, summary.extend_command)
    assert comparison_json(make_comparison())["winner_at_edge"] is False


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([(1, 2), (1, 2), (3, 3)], "{adam, rmsprop} cannot be told apart; sgd is behind both."),
        (
            [(1, 1), (2, 3), (2, 3)],
            "adam is ahead; {rmsprop, sgd} cannot be told apart, behind it.",
        ),
        ([(1, 3)] * 3, "{adam, rmsprop, sgd} cannot be told apart."),
        ([(1, 1), (2, 2), (3, 3)], "adam is ahead; rmsprop is behind it; sgd is behind both."),
        ([(1, 2), (1, 3), (2, 3)], ""),
        ([(1, 2), (1, 2), None], ""),
    ],
)
def test_the_ranking_is_one_of_sets(make_comparison, places, said):
    arms = [
        replace(arm, places=place)
        for arm, place in zip(make_comparison().ranking, places, strict=True)
    ]
    assert ranked_sets(arms) == said


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0.0503, "p=0.0503"),
        (0.04996, "p=0.04996"),
        (0.0500004, "p=0.0500004"),
        (0.05, "p=0.05"),
        (0.12, "p=0.12"),
        (0.00002, "p<0.0001"),
    ],
)
def test_a_p_value_shows_on_which_side_of_the_level_it_is(make_comparison, p, said):
    pair = replace(make_comparison().pairs[0], p_adjusted=p)
    assert f", {said}, 3 seeds)" in grounds(pair, ACCURACY)


def test_a_tie_that_only_more_images_would_end_says_so(make_comparison):
    pair = replace(make_comparison().pairs[0], seeds_needed=None, examples=500)
    assert "No affordable number of seeds would separate them on 500 test examples." in grounds(
        pair, ACCURACY
    )


def test_a_resumed_comparison_tells_the_last_call_from_the_earlier_ones(
    make_comparison, make_comparison_info
):
    info = make_comparison_info(engine="serial", jobs=1, already_done=4)
    text = drawn(make_comparison(info=info), 140)
    said = "9 finished; 4 of them by earlier calls; 52 s in all, the last call with 1 job at a time"
    assert f"trials      {said}\n" in text


def test_a_comparison_without_tuning_or_any_result(make_comparison):
    arm = make_comparison().ranking[0]
    nothing = replace(arm.test_score, count=0, mean=math.nan, std=math.nan)
    nothing = replace(nothing, ci95=(-math.inf, math.inf))
    bare = replace(
        arm,
        rank=None,
        places=None,
        learning_rate=math.nan,
        test_score=nothing,
        val_score=nothing,
        measured=dict.fromkeys(arm.measured, math.nan),
        selection=None,
        sensitivity=None,
    )
    text = drawn(make_comparison(ranking=(bare,), pairs=(), tuning=(), trials=()), 140)
    assert "when chosen" not in text
    assert "verdicts" not in text
    assert "trials      none has ended; 52 s" in text
    assert "-  adam" in text, "an arm without a result has no place yet"
    assert "nan" not in text


# Many pairs ----------------------------------------------------------------------------------


def many_pairs(make_comparison, make_comparison_info, make_pair, ties, arms, overrides=None):
    """A comparison of ranked arms in which the named pairs tie, and the better rank wins others."""
    infos = [
        ArmInfo(name, (overrides or {}).get(name, (name, ()))[0], over, (0.1,))
        for name in arms
        for over in [(overrides or {}).get(name, (name, ()))[1]]
    ]
    pairs = [
        make_pair(a=a, b=b, verdict="tie" if (a, b) in ties else "a")
        for a, b in itertools.combinations(arms, 2)
    ]
    info = replace(make_comparison_info(), arms=tuple(infos))
    return make_comparison(info=info, pairs=tuple(pairs))


def verdicts_of(text):
    lines = [line.rstrip() for line in text.splitlines()]
    first = next(row for row, line in enumerate(lines) if line.startswith("verdicts"))
    last = next(row for row, line in enumerate(lines) if line.startswith("trials "))
    return [line[12:] for line in lines[first:last]]


def test_ties_that_are_not_transitive_are_not_one_group(
    make_comparison, make_comparison_info, make_pair
):
    """a ties with b, b with c, c with d, and a is better than c and d, b than d."""
    ties = {("a", "b"), ("b", "c"), ("c", "d")}
    summary = many_pairs(make_comparison, make_comparison_info, make_pair, ties, "abcd")
    assert verdicts_of(drawn(summary, 140)) == [
        "a: better than c and d.",
        "b: better than d.",
        "a and b: cannot be told apart; at most 0.0123 apart, 3 seeds.",
        "b and c: cannot be told apart; at most 0.0123 apart, 3 seeds.",
        "c and d: cannot be told apart; at most 0.0123 apart, 3 seeds.",
        "Tests at 95%, corrected for 6 pairs (Holm). b is in several groups: it ties with the "
        "arms of each, and some of those differ from",
        "one another.",
        f"gradcli runs show {summary.info.path} --all-pairs",
    ]


def test_eight_equal_arms_are_one_line(make_comparison, make_comparison_info, make_pair):
    arms = [f"arm{place}" for place in range(8)]
    ties = set(itertools.combinations(arms, 2))
    summary = many_pairs(make_comparison, make_comparison_info, make_pair, ties, arms)
    lines = verdicts_of(drawn(summary, 160))
    assert len(lines) == 3
    assert lines[0].startswith("arm0, arm1, arm2, arm3, arm4, arm5, arm6 and arm7: cannot be told")
    every = drawn(summary, 160, all_pairs=True)
    assert sum(" tie: " in line for line in every.splitlines()) == 28
    assert "cannot be told apart" not in every


def test_the_pairs_that_answer_vary_come_first(make_comparison, make_comparison_info, make_pair):
    arms = ["adam clip=none", "sgd clip=norm", "adam clip=norm", "sgd clip=none"]
    overrides = {name: (name.split()[0], (name.split()[1],)) for name in arms}
    summary = many_pairs(make_comparison, make_comparison_info, make_pair, set(), arms, overrides)
    for all_pairs in (False, True):
        first, second, *others = verdicts_of(drawn(summary, 160, all_pairs=all_pairs))
        assert first.startswith("adam clip=none is better than adam clip=norm: 0.0123 apart")
        assert second.startswith("sgd clip=norm is better than sgd clip=none: 0.0123 apart")
        assert len([line for line in others if "better than" in line]) == (4 if all_pairs else 3)
        assert any("In brackets: the 95% interval over seeds" in line for line in others)


def test_an_arm_without_a_score_is_in_no_group(make_comparison, make_comparison_info, make_pair):
    ties = set(itertools.combinations("abcd", 2))
    summary = many_pairs(make_comparison, make_comparison_info, make_pair, ties, "abcd")
    lost = {"seeds": 0, "evidence": "none", "difference": math.nan}
    pairs = [replace(one, **lost) if "d" in (one.a, one.b) else one for one in summary.pairs]
    lines = verdicts_of(drawn(replace(summary, pairs=tuple(pairs)), 140))
    assert lines[0].startswith("a, b and c: cannot be told apart")
    assert lines[1] == "d: no score, so no verdict."


@pytest.mark.parametrize(
    ("selected", "fresh", "change"),
    [
        (0.92, [0.92], "0.0000"),
        (0.92, [0.93], "+0.0100"),
        (0.92, [0.91], "-0.0100"),
        (0.92, [], "-"),
    ],
)
def test_the_change_has_no_sign_of_zero_and_no_nan(make_comparison, selected, fresh, change):
    finished = make_comparison()
    first, *others = finished.ranking
    selection = Selection("adam", selected, summarise_scores(np.array(fresh)))
    ranking = (replace(first, selection=selection), *others)
    lines = drawn(make_comparison(ranking=ranking)).splitlines()
    (row,) = [line for line in lines if line.startswith("1-2  adam") and "▁" in line]
    assert row.split()[-1] == change


# As sentences --------------------------------------------------------------------------------


@pytest.fixture
def make_pair():
    def make(**changes: object) -> PairResult:
        values: dict[str, object] = {
            "a": "adam",
            "b": "sgd",
            "seeds": 3,
            "difference": 0.0123,
            "deviation": 0.001,
            "ci95": (0.0098, 0.0148),
            "holm_interval": (0.0080, 0.0166),
            "p_adjusted": 0.0044,
            "verdict": "a",
            "evidence": "scores",
            "seeds_needed": None,
        }
        return PairResult(**(values | changes))

    return make


def said(pair: PairResult) -> str:
    return f"{verdict(pair)}: {grounds(pair, ACCURACY)}"


def test_a_verdict_shows_the_corrected_interval(make_pair):
    assert said(make_pair()) == (
        "adam is better than sgd: 0.0123 apart (0.0080 to 0.0166, p=0.0044, 3 seeds)."
    )


def test_the_interval_of_a_difference_of_accuracies_stays_within_1(make_pair):
    wide = make_pair(holm_interval=(-2.5, 1.9), verdict="tie", seeds_needed=9)
    assert "(-1.0000 to 1.0000, p=0.0044, 3 seeds)" in said(wide)


def test_a_verdict_for_the_lower_ranked_is_seen_from_its_side(make_pair):
    pair = make_pair(difference=-0.0123, holm_interval=(-0.0166, -0.0080), verdict="b")
    assert said(pair) == (
        "sgd is better than adam: 0.0123 apart (0.0080 to 0.0166, p=0.0044, 3 seeds)."
    )


def test_a_tie_says_what_would_separate_it(make_pair):
    tie = make_pair(verdict="tie", p_adjusted=0.31, holm_interval=(-0.001, 0.0256), seeds_needed=12)
    assert said(tie) == (
        "adam and sgd tie: 0.0123 apart (-0.0010 to 0.0256, p=0.31, 3 seeds). "
        "About 12 seeds would separate them."
    )
    assert "No affordable number of seeds" in said(replace(tie, seeds_needed=None))


def test_identical_arms_tie_without_a_number_of_seeds(make_pair):
    tie = make_pair(verdict="tie", p_adjusted=1.0, difference=0.0, holm_interval=(0.0, 0.0))
    assert said(tie) == "adam and sgd tie: 0.0000 apart over 3 seeds."


def test_a_single_seed_settles_nothing(make_pair):
    everything = (-math.inf, math.inf)
    tie = make_pair(
        seeds=1,
        deviation=math.nan,
        ci95=everything,
        holm_interval=everything,
        p_adjusted=1.0,
        verdict="tie",
        evidence="none",
    )
    assert said(tie) == "adam and sgd have no verdict: 0.0123 apart at 1 seed, too few for a test."
    none = replace(tie, seeds=0, difference=math.nan)
    assert said(none) == ("adam and sgd have no verdict: no seed has a score of both.")


def test_divergence_alone_is_evidence(make_pair):
    pair = make_pair(
        seeds=0, difference=math.nan, evidence="divergence", p_adjusted=0.03, deviation=math.nan
    )
    assert said(pair) == (
        "adam is better than sgd: one diverged at every seed, the other at none (p=0.03)."
    )
    tie = replace(pair, verdict="tie", p_adjusted=0.09, seeds_needed=4)
    assert said(tie).endswith("(p=0.09). About 4 seeds would separate them.")


def test_a_tiny_p_is_not_written_as_zero(make_pair):
    assert "p<0.0001" in said(make_pair(p_adjusted=0.0))


def test_an_interval_without_ends_is_absent():
    assert interval((-math.inf, math.inf)) == "-"


def test_seeds_that_agree_exactly_have_no_interval_in_the_table(make_comparison):
    summary = make_comparison()
    first, *others = summary.ranking
    agreeing = replace(first, test_score=summarise_scores([0.9600] * 3))
    (row,) = [
        line
        for line in drawn(replace(summary, ranking=(agreeing, *others))).splitlines()
        if "adam" in line and "0.9600" in line
    ]
    assert re.search(r"0\.9600 +- +0\.0000", row)


def test_the_heading_says_that_the_interval_is_over_seeds(make_comparison):
    above, heading = drawn(make_comparison()).splitlines()[3:5]
    assert above.index("over seeds") == heading.index("95% interval")


def test_halving_says_what_it_cost_and_saved():
    text = halving_result(
        Halving(stopped=9, trials=15, steps_spent=900, steps_saved=2610, steps_without=5850)
    )
    for word in ("9 of 15 tuning trials", "900 steps", "2,610 steps saved", "45% of the tuning"):
        assert word in text
