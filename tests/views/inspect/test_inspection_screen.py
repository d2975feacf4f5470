import io
import math

import numpy as np
import pytest
from rich.console import Console

from gradcli.inspection.inspection import NOT_TESTED, Event, ProbeCost, ProbeResults, SideBySide
from gradcli.probes.measuring.slope import LogSlope
from gradcli.records import Finding
from gradcli.views.inspect.heat_map import GLYPHS
from gradcli.views.inspect.inspection_screen import (
    commands_after_inspection,
    event_marks,
    inspection_screen,
    step_axis,
)
from gradcli.views.inspect.layer_table import MOST_LAYERS, chosen_layers, depth_profile

WHOLE = ("gradcli ", "runs/", "try  ")
"""What is in the lines that are to be copied."""
SHAPE = "128\N{MULTIPLICATION SIGN}256"


def drawn(inspection, width: int = 80, *, terminal: bool = True) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    console.print(inspection_screen(inspection), crop=False)
    return file.getvalue()


def flat(text: str) -> str:
    """Undo the wrapping of prose."""
    return " ".join(text.split())


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


# A run ---------------------------------------------------------------------------------------


def test_a_run_says_what_it_was_and_how_it_went(make_run_inspection):
    text = flat(drawn(make_run_inspection(notes=("It is still going.",))))
    for words in (
        "healthy runs/20260105-101500-mlp-3f2a",
        "mnist5k 4,000 images, mlp, relu, adam 0.002, clip norm 1.0, batch 128",
        "a finished run, at step 600; loss 0.0412",
        "It is still going.",
        "The loss is falling: it began at 2.3000 and is now 0.0412.",
        "from 1.20 to 0.120; it falls and rises with the loss (correlation +0.93)",
        "clipped 34% of the steps",
        "healthy. All is well.",
        "the rule: all rules",
        "tested vanishing, exploding, no-gradient",
        "not tested spike, plateau: takes a run",
    ):
        assert words in text


def test_the_heat_map_has_a_row_a_layer_and_fades_with_the_norm(make_run_inspection):
    text = drawn(make_run_inspection())
    hidden1 = line_of(text, "hidden1").removeprefix("hidden1").strip()
    output = line_of(text, "output").removeprefix("output").strip()
    assert len(hidden1) == len(output) == 80 - len("hidden1  ")
    # From 1 to 0.1, and from a third of that.
    assert (hidden1[0], hidden1[-1]) == ("█", "▒")
    assert (output[0], output[-1]) == ("▓", "░")
    levels = [GLYPHS.index(glyph) for glyph in hidden1]
    assert levels == sorted(levels, reverse=True)
    assert flat(line_of(text, "norm")) == "norm · <0.032 ░ <0.1 ▒ <0.32 ▓ <1 █ from 1"
    assert line_of(text, "step").split() == ["step", "1", "291", "600"]


def test_the_map_is_ascii_if_the_stream_is(make_run_inspection):
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=file, width=80, color_system=None).print(
        inspection_screen(make_run_inspection()), crop=False
    )
    file.flush()
    lines = file.buffer.getvalue().decode("ascii").splitlines()
    (row,) = [line for line in lines if line.startswith("hidden1  @")]
    assert set(row.split()[1]) == {"@", "#", "+"}
    assert ". <0.032  : <0.1  + <0.32  # <1  @ from 1" in "\n".join(lines)


def test_zeros_and_nan_stand_out_without_colour(make_run_inspection, make_history):
    norms = np.ones((3, 40))
    norms[1, 20], norms[2] = math.nan, 0.0
    text = drawn(make_run_inspection(history=make_history(norms)))
    assert line_of(text, "hidden2").count("!") in (1, 2)  # a bin takes one or two columns
    assert set(line_of(text, "output").split()[1]) == {"_"}
    assert line_of(text, "norm").endswith("_ exactly zero  ! not finite")


def test_events_stand_under_their_steps(make_history):
    history = make_history(np.ones((1, 50)))  # ten steps a bin
    events = [
        Event(1, "spike", "a", 9.0),
        Event(255, "lr-change", None, 0.1),
        Event(500, "spike", "a", 9.0),
        Event(500, "non-finite", "a", math.nan),
    ]
    assert event_marks(events, history, 50) == "^" + 24 * " " + "|" + 23 * " " + "!"
    assert event_marks(events, history, 10) == "^    |   !"
    assert event_marks(events, history, 100).strip() == "^" + 49 * " " + "|" + 47 * " " + "!"


def test_events_are_counted_and_the_first_ones_listed(make_run_inspection):
    events = (
        *(Event(step, "spike", "hidden2", 23.4) for step in range(41, 47)),
        Event(200, "lr-change", None, 0.1),
    )
    text = flat(
        drawn(make_run_inspection(events=events, event_counts={"spike": 7, "lr-change": 1}))
    )
    assert "events 7 spikes, 1 learning-rate change" in text
    assert "step 41 in hidden2: the norm is 23.4 times the median before it" in text
    assert "step 46" not in text
    assert "^ spike | new learning rate" in text


@pytest.mark.parametrize(("width", "axis"), [(9, "1     600"), (15, "1      281  600")])
def test_the_axis_names_the_middle_only_if_it_fits(make_history, width, axis):
    assert step_axis(make_history(np.ones((1, 60))), width) == axis


# Layers --------------------------------------------------------------------------------------


def test_the_table_of_a_fresh_model(make_inspection):
    row = drawn(make_inspection(2), 140)
    assert (
        flat(line_of(row, "hidden1"))
        == f"hidden1 Linear {SHAPE} 0.0100 0.00100 ○ ● 0% 40% 0.00200 0.0300 vanishing"
    )
    assert "clipped" not in row.split("depth  ")[0].replace("clip norm", "")


def test_the_table_of_a_run_has_both_ends_and_the_clipping(make_run_inspection):
    text = drawn(make_run_inspection(history=None), 140)  # without the map
    assert "after clip" not in text
    text = drawn(make_run_inspection(), 140)
    row = [line for line in text.splitlines() if line.startswith("hidden2")][1]
    cells = [cell for cell in row.split() if cell not in "●○"]
    assert " ".join(cells) == (
        f"hidden2 Linear {SHAPE} 1.00 0.0500 0.0500 0.125 0.00200 34% 0.0300 -1.00"
    )


def test_columns_without_any_value_are_left_out(make_inspection, make_layer_report):
    unknown = make_layer_report(update_ratio=math.nan, dead_fraction=math.nan)
    text = drawn(make_inspection(layers=(unknown, unknown)), 140)
    assert "ratio" not in text
    assert "dead" not in text


def test_of_many_layers_the_ends_and_those_found_ill_are_shown(make_inspection):
    inspection = make_inspection(100)
    (finding,) = inspection.findings
    ill = Finding(
        **{name: getattr(finding, name) for name in finding.__slots__} | {"layer": "hidden38"}
    )
    inspection = make_inspection(100, findings=(ill,))
    shown = chosen_layers(inspection, MOST_LAYERS)
    assert len(shown) == MOST_LAYERS == len(set(shown))
    assert {0, 37, 99} <= set(shown)
    assert shown == sorted(shown)
    assert "and 76 layers between them" in drawn(inspection)
    assert chosen_layers(make_inspection(5), MOST_LAYERS) == [0, 1, 2, 3, 4]


def test_the_profile_puts_equal_factors_at_equal_distances(make_layer_report):
    layers = [
        make_layer_report(weight_grad_norm=10.0**-power, input_grad_norm=math.nan)
        for power in range(4)
    ]
    axis, lines = depth_profile(layers, 31)
    assert axis == "0.001" + 25 * " " + "1"
    assert [line.index("●") for line in lines] == [30, 20, 10, 0]
    assert {len(line) for line in lines} == {31}


def test_the_profile_keeps_zeros_and_level_gradients_honest(make_layer_report):
    zero = make_layer_report(weight_grad_norm=0.0, input_grad_norm=math.nan)
    level = [make_layer_report(weight_grad_norm=norm, input_grad_norm=norm) for norm in (1.0, 1.01)]
    _, lines = depth_profile([zero, *level], 20)
    assert lines[0] == "_" + 19 * " "
    assert lines[1] == lines[2] == 19 * " " + "◉"


@pytest.mark.parametrize(
    ("slope", "words"),
    [
        (
            LogSlope(1.0, 0.99, 4),
            "gets 10x smaller per layer on the way back (log10 slope 1.00, R squared 0.99",
        ),
        (LogSlope(-0.301, 0.9, 4), "gets 2x larger per layer on the way back"),
        (LogSlope(0.01, 0.1, 4), "about the same in all layers"),
        (
            LogSlope(math.nan, math.nan, 1),
            "unknown: fewer than two layers have a finite gradient",
        ),
    ],
)
def test_the_slope_as_a_sentence(make_inspection, slope, words):
    assert words in flat(drawn(make_inspection(depth_slope=slope)))


# Verdicts, findings, commands ----------------------------------------------------------------


def test_a_finding_comes_with_evidence_rule_and_advice(make_inspection):
    text = flat(drawn(make_inspection()))
    for words in (
        "warning: vanishing in hidden1. Gradients vanish on their way back.",
        "factor 1.20e-04",
        "the rule: below 0.001 of the largest layer's",
        "try activation=relu init=kaiming",
    ):
        assert words in text


def test_what_was_not_tested_is_not_called_healthy(make_run_inspection):
    text = drawn(
        make_run_inspection(
            verdict=NOT_TESTED, findings=(), tested=(), history=None, convergence=None, step=0
        )
    )
    assert text.startswith("not-tested")
    assert "diagnosis   not tested" in text
    assert "healthy" not in text


def test_a_run_without_findings_of_which_too_little_was_tested_is_not_called_not_tested(
    make_run_inspection,
):
    run = make_run_inspection(verdict=NOT_TESTED, findings=(), tested=("vanishing", "plateau"))
    text = drawn(run)
    assert text.startswith("no finding  ")
    assert "diagnosis   no finding, but too little was tested to call it healthy" in text
    assert "no finding" in drawn(SideBySide("runs/one", "comparison", (run, run)))


def test_advice_on_a_fresh_model_is_inspected_and_then_trained(make_inspection):
    better = "model=deep_mlp activation=relu init=kaiming"
    assert commands_after_inspection(make_inspection()) == [
        f"gradcli inspect-gradients {better}",
        f"gradcli train {better}",
        "gradcli inspect-gradients model=deep_mlp activation=sigmoid --probe all",
    ]


def test_a_lost_run_is_resumed_first_and_probed_once(make_run_inspection):
    run = make_run_inspection(status="lost")
    assert commands_after_inspection(run)[0] == f"gradcli train --resume {run.target}"
    probed = make_run_inspection(probes=ProbeResults(refused={"noise": "batch norm"}))
    assert not any("--probe" in command for command in commands_after_inspection(probed))
    unasked = make_run_inspection(probes=ProbeResults(costs={"signals": ProbeCost(0.1, 1.0)}))
    assert any("--probe" in command for command in commands_after_inspection(unasked))


def test_commands_go_on_with_the_paths_that_were_given(make_inspection, make_run_inspection):
    paths = ("--config-dir", "my configs", "--allow-import", "lab")
    fresh = commands_after_inspection(make_inspection(path_arguments=paths))
    options = "--config-dir 'my configs' --allow-import lab"
    assert fresh[0].startswith(f"gradcli inspect-gradients {options} model=deep_mlp")
    assert fresh[1].startswith(f"gradcli train {options} model=deep_mlp")
    lost = commands_after_inspection(make_run_inspection(status="lost", path_arguments=paths))
    assert lost[0].startswith(f"gradcli train {options} --resume runs/")
    assert lost[1].startswith(f"gradcli inspect-gradients {options} runs/")
    assert lost[2].startswith("gradcli runs show runs/")  # which takes none of them


def test_a_users_own_loop_is_offered_only_what_it_can_do(make_run_inspection):
    unknown = {"learning_rates": (), "activation": "", "clip": "", "batch_size": 0}
    own = make_run_inspection(status="interrupted", data="own", is_own_loop=True, **unknown)
    assert commands_after_inspection(own) == [f"gradcli runs show {own.target}"]
    setting = drawn(own).splitlines()[1]
    assert setting == "own data, mlp, adam"


def test_headings_say_which_steps_a_number_is_of(make_inspection, make_run_inspection):
    run = drawn(make_run_inspection(), 140)
    titles = next(line for line in run.splitlines() if line.startswith("layer"))
    assert titles.split().count("10%") == 3
    assert "median" in titles
    assert "first and last 10%: medians over those steps" in run
    fresh = drawn(make_inspection(), 140)
    assert "1st step" in fresh
    assert "10%:" not in fresh


# Side by side --------------------------------------------------------------------------------


@pytest.fixture
def variants(make_inspection, make_layer_report):
    def make(*labels: str) -> SideBySide:
        level = tuple(make_layer_report(f"hidden{depth}", depth=depth) for depth in range(4))
        healthy = {"verdict": "healthy", "findings": (), "layers": level}
        healthy["depth_slope"] = LogSlope(0.0, 1.0, 4)
        return SideBySide(
            "model=deep_mlp",
            "variants",
            tuple(
                make_inspection(
                    label=f"activation={label}",
                    activation=label,
                    target=f"model=deep_mlp activation={label}",
                    **(healthy if label == "relu" else {}),
                )
                for label in labels
            ),
        )

    return make


def test_variants_stand_side_by_side(variants):
    text = drawn(variants("sigmoid", "relu"), 140)
    assert text.startswith("2 variants  model=deep_mlp")
    assert line_of(text, "activation=sigmoid").split()[1:] == [
        *("vanishing", "+1.00", "1.00e-04", "hidden1", "0.100", "output"),
        *("0%", "40%", "0.00200", "2.3456", "0.99"),
    ]
    assert line_of(text, "activation=relu").split()[1:3] == ["healthy", "+0.00"]
    # What differs is not said of all.
    assert "sigmoid," not in text.splitlines()[1]


def test_the_gradient_along_the_depth_has_one_scale_for_all(variants):
    text = drawn(variants("sigmoid", "relu"))
    sigmoid, relu = (
        [line for line in text.splitlines() if line.startswith(f"activation={label}")][1].split()[1]
        for label in ("sigmoid", "relu")
    )
    assert sigmoid == "".join(6 * glyph for glyph in "░▒▓█")
    assert relu == 24 * "█"
    assert line_of(text, "norm").split()[1:3] == ["·", "<0.0001"]


def test_only_the_ill_are_explained_and_the_well_trained(variants):
    text = drawn(variants("sigmoid", "relu"))
    assert text.count("Gradients vanish") == 1
    assert "gradcli inspect-gradients model=deep_mlp activation=sigmoid\n" in text
    assert "gradcli train model=deep_mlp activation=relu\n" in text


# Widths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 140])
@pytest.mark.parametrize("case", ["run", "fresh", "tall", "variants"])
def test_no_line_but_those_to_copy_is_wider_than_the_terminal(
    make_run_inspection, make_inspection, variants, case, width
):
    inspection = {
        "run": lambda: make_run_inspection(),
        "fresh": lambda: make_inspection(),
        "tall": lambda: make_inspection(64),
        "variants": lambda: variants("sigmoid", "relu", "tanh"),
    }[case]()
    lines = drawn(inspection, width).splitlines()
    prose = [line for line in lines if not any(word in line for word in WHOLE)]
    assert max(map(len, prose)) <= width


def test_a_pipe_gets_all_columns_and_no_control_codes(make_run_inspection):
    text = drawn(make_run_inspection(), 80, terminal=False)
    assert "\x1b" not in text
    assert "per run" in text
    assert max(map(len, text.splitlines())) > 80
