import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from gradcli.records import (
    PHASES,
    ClipOutlook,
    DataInfo,
    FaultRecord,
    Finding,
    GroupSummary,
    Metric,
    MetricScores,
    NormSummary,
)
from gradcli.system.paths import Paths
from gradcli.views.train.run_closing import closing_screen, commands_after_run

VANISHING = Finding(
    "vanishing",
    "error",
    "hidden1",
    {"median_norm": 1.2e-7, "largest": "output"},
    "median below 1/1000 of the largest",
    "The gradient hardly reaches this layer.",
    "activation=relu",
)
CLIPPED = Finding(
    "always-clipped", "warning", None, {"share": 0.9}, "over 50%", "Most steps are cut.", None
)


WHOLE = ("gradcli", "runs/", "try  ")
"""What is in the lines that are to be copied."""


def drawn(summary, commands=(), width: int = 80, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    console.print(closing_screen(summary, commands), crop=False)
    return file.getvalue()


def test_the_result_and_where_the_time_went(make_summary):
    text = drawn(make_summary())
    for word in ("finished", "test 0.9791", "validation 0.9803", "0.0412", "300 steps", "34%"):
        assert word in text
    for word in ("▓ forward 25%", "░ backward 40%", "4.4 s", "3.2 s", "2.1 s", "nothing to report"):
        assert word in text
    assert "runs/20260105-101500-mlp-3f2a" in text


def test_a_line_says_what_other_limits_would_clip(make_summary):
    outlook = ClipOutlook(1.93, 3.1, 12.0, (0.5, 1.0, 2.0, 5.0), (1.0, 0.97, 0.43, 0.004))
    lines = drawn(make_summary(clip_outlook=outlook)).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("grad norm "))
    assert lines[first : first + 2] == [
        "grad norm   before clip: median 1.93, 90% below 3.10, largest 12.0; a limit of",
        "            0.5 would clip 100%, 1 97%, 2 43%, 5 <1% of steps",
    ]


@pytest.mark.parametrize("outlook", [None, ClipOutlook(0.0, 0.0, 0.0, (), ())])
def test_nothing_is_said_of_limits_if_none_means_anything(make_summary, outlook):
    assert "limit" not in drawn(make_summary(clip_outlook=outlook))


def test_a_line_has_the_further_metrics(make_summary):
    further = (
        MetricScores(Metric("mae", "minimize"), 0.25, 0.125),
        MetricScores(Metric("r2", "maximize"), 0.9, math.nan),
    )
    lines = drawn(make_summary(further=further)).splitlines()
    assert "further     mae test 0.1250, validation 0.2500; r2 test -, validation 0.9000" in lines
    assert "further" not in drawn(make_summary())


def test_the_phase_bar_is_shared_out_by_time(make_summary):
    bar = next(line for line in drawn(make_summary()).splitlines() if line.startswith("time"))
    bar = bar.removeprefix("time").strip()
    assert len(bar) == 60
    lengths = [len(list(group)) for group in runs_of(bar)]
    assert lengths == [3, 15, 3, 24, 12, 3]


def test_the_legend_names_the_texture_of_each_phase(make_summary):
    lines = drawn(make_summary()).splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("time"))
    bar = lines[first].removeprefix("time").strip()
    legend = " ".join(lines[first + 1 : first + 3]).split()
    assert legend[1::3] == list(PHASES)
    textures = legend[0::3]
    assert textures == [group[0] for group in runs_of(bar)]
    assert len(set(textures)) == len(PHASES)


def test_a_users_own_loop_has_no_empty_fields(make_summary, make_info):
    info = make_info(
        data=DataInfo("own", 0, 0, 0, "", (0, 0, 0), 0),
        **{"schedule": "", "clip": "", "activation": "", "batch_size": 0},
        **{"epochs": 0, "total_steps": 0},
    )
    summary = make_summary(
        info=info,
        status="interrupted",
        epochs=0,
        test_score=math.nan,
        val_score=math.nan,
        findings=(VANISHING,),
    )
    text = drawn(summary)
    assert "accuracy" not in text and " -" not in text.partition("layer")[0]
    assert ", ," not in text and "clip ," not in text and "batch 0" not in text
    assert commands_after_run(summary, [], Paths()) == [f"gradcli runs show {summary.path}"]


def test_commands_carry_the_options_that_build_the_run(make_summary):
    summary = make_summary(status="interrupted", findings=(VANISHING,))
    paths = Paths(Path("my runs"), config_dir=Path("my configs"), allow_import=["mine"])
    resume, advice, show = commands_after_run(summary, ["optimizer=mine"], paths)
    options = "--config-dir 'my configs' --allow-import mine"
    assert resume == f"gradcli train {options} --resume {summary.path}"
    assert advice.startswith(f"gradcli train --runs-dir 'my runs' {options} optimizer=mine ")
    assert show == f"gradcli runs show {summary.path}"
    assert commands_after_run(summary, None, paths) == [resume, show]


def runs_of(text: str) -> list[str]:
    groups = [text[0]]
    for character in text[1:]:
        if character == groups[-1][-1]:
            groups[-1] += character
        else:
            groups.append(character)
    return groups


def test_the_most_severe_finding_comes_first_with_evidence_and_override(make_summary):
    text = drawn(make_summary(findings=(CLIPPED, VANISHING)))
    assert text.index("vanishing in hidden1") < text.index("always-clipped")
    for word in ("error", "warning", "hardly reaches", "median norm 1.20e-07", "activation=relu"):
        assert word in text


def test_findings_beyond_the_first_are_counted(make_summary):
    text = drawn(make_summary(findings=(CLIPPED,) * 5))
    assert text.count("Most steps are cut.") == 2
    assert "3 more findings" in text


def test_a_diverged_run_says_where(make_summary):
    fault = FaultRecord(31, 1, "backward", "hidden2", math.nan, tuple(range(100, 228)))
    summary = make_summary(status="diverged", fault=fault, test_score=math.nan)
    text = drawn(summary)
    for word in ("diverged", "hidden2", "backward", "step 31", "100 101", "120 more", "test -"):
        assert word in text


def test_an_interrupted_run_is_resumed_first(make_summary):
    summary = make_summary(status="interrupted")
    assert commands_after_run(summary, [], Paths())[0] == f"gradcli train --resume {summary.path}"


def test_advice_replaces_what_it_contradicts_and_quotes_the_rest(make_summary, monkeypatch):
    monkeypatch.delenv("GRADCLI_RUNS")
    summary = make_summary(findings=(VANISHING,))
    arguments = ["--model", "deep_mlp", "activation=sigmoid", "model.hidden=[8, 8]"]
    command = commands_after_run(summary, arguments, Paths())[0]
    assert command == "gradcli train --model deep_mlp 'model.hidden=[8, 8]' activation=relu"


@pytest.mark.parametrize("width", [30, 80, 140])
def test_prose_wraps_and_commands_stay_whole(make_summary, width):
    long = "gradcli train " + " ".join(f"model.option{i}={i}" for i in range(20))
    lines = drawn(make_summary(findings=(VANISHING,)), [long], width).splitlines()
    assert [line for line in lines if line.endswith(long)]
    prose = [line for line in lines if not any(word in line for word in WHOLE)]
    assert max(map(len, prose)) <= width


def test_a_pipe_gets_no_control_codes(make_summary):
    assert "\x1b" not in drawn(make_summary(findings=(VANISHING,)))


def test_parameter_groups_have_a_table(make_summary, groups):
    norms = NormSummary(first=0.5, last=2.0, mean=1.0, max=4.0)
    rates = ((0.02, 0.0001), (0.002, math.nan))
    summaries = tuple(GroupSummary(one, *at, norms) for one, at in zip(groups, rates, strict=True))
    lines = drawn(make_summary(groups=summaries), width=120).splitlines()
    rows = [line.split() for line in lines if line.startswith(("matrices", "rest"))]
    assert rows[0] == ["matrices", "Muon", "0.0200", "1.00e-04", "0.500", "2.00", "hidden1.weight"]
    assert rows[1][:6] == ["rest", "AdamW", "0.00200", "-", "0.500", "2.00"]
    assert rows[1][6:] == ["hidden1.bias,", "output.weight,", "output.bias"]
    narrow = drawn(make_summary(groups=summaries), width=50)
    assert max(map(len, narrow.splitlines()[10:20])) <= 50
    assert "matrices" in narrow
    assert "Muon" not in drawn(make_summary())
