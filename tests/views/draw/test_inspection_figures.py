import sys
from dataclasses import replace

import numpy as np
import pytest

from gradcli.inspection.inspection import Event, ProbeResults, SideBySide
from gradcli.probes.descent import DescentCurve
from gradcli.probes.histograms import LayerHistogram, LogHistogram
from gradcli.probes.measuring.activations import Moments
from gradcli.probes.measuring.slope import LogSlope
from gradcli.probes.measuring.through_time import HiddenStateGradients
from gradcli.records import DECADES
from gradcli.views.draw.inspection_figures import (
    MOST_DEPTH_NAMES,
    _depth_figure,
    _name,
    _ticks,
    plot_inspection,
)

NOTHING_TO_TELL = LogSlope(np.nan, np.nan, 0)


def names(paths) -> set[str]:
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")
    return {path.name for path in paths}


@pytest.mark.parametrize(
    ("fill", "bins"), [(1.0, 1), (1.0, 60), (0.0, 60), (np.nan, 60), (np.inf, 1)]
)
def test_every_run_can_be_drawn(tmp_path, make_run_inspection, make_history, fill, bins):
    events = (
        Event(1, "spike", "hidden1", 9.0),
        Event(4, "lr-change", None, 0.1),
        Event(7, "non-finite", None, np.nan),
    )
    run = make_run_inspection(history=make_history(np.full((3, bins), fill)), events=events)
    assert names(plot_inspection(tmp_path, run)) == {"gradient_map.png", "depth_profile.png"}


@pytest.mark.parametrize("norm", [0.0, np.nan, np.inf])
def test_a_model_without_any_gradient_can_be_drawn(
    tmp_path, make_inspection, make_layer_report, norm
):
    layers = (make_layer_report(weight_grad_norm=norm, input_grad_norm=norm),) * 3
    inspection = make_inspection(
        layers=layers, depth_slope=NOTHING_TO_TELL, input_depth_slope=NOTHING_TO_TELL
    )
    assert names(plot_inspection(tmp_path, inspection)) == {"depth_profile.png"}


def test_the_probes_that_were_made_are_drawn(tmp_path, make_inspection, make_layer_report):
    counts = np.zeros(len(DECADES), dtype=np.int64)
    counts[[3, 20]] = 10
    histograms = (
        LayerHistogram("a", LogHistogram(counts, 2 * counts, 5, 0)),
        LayerHistogram("b", LogHistogram(0 * counts, 0 * counts, 0, 7)),
    )
    hidden = np.geomspace(1e-9, 1.0, 28)
    states = (
        HiddenStateGradients("rnn", 0, False, hidden, 2 * hidden, LogSlope(0.3, 1.0, 28)),
        HiddenStateGradients("rnn", 0, True, 0 * hidden, None, NOTHING_TO_TELL),
    )
    lengths = np.logspace(-6, 0, 25)
    losses = np.append(np.linspace(2.3, 1.0, 24), np.inf)
    descent = DescentCurve(lengths, lengths, losses, 2.3, -5.0, lengths[23], 1.0, lengths[23])
    moments = Moments(0.0, 1.0, 1.0)
    layer = make_layer_report(output=moments, activation=moments, output_grad=moments)
    probes = ProbeResults(
        found={"histograms": histograms, "hidden-states": states, "descent": descent}
    )
    inspection = make_inspection(layers=(layer, layer), probes=probes)
    assert names(plot_inspection(tmp_path, inspection)) == {
        "depth_profile.png",
        "signals.png",
        "histograms.png",
        "hidden_states.png",
        "descent.png",
    }


def test_a_direction_that_leads_nowhere_can_be_drawn(tmp_path, make_inspection):
    unknown = np.full(25, np.nan)
    descent = DescentCurve(unknown, np.logspace(-6, 0, 25), unknown, 2.3, -0.0, 0.0, 2.3, 0.0)
    inspection = make_inspection(layers=(), probes=ProbeResults({"descent": descent}))
    assert names(plot_inspection(tmp_path, inspection)) == {"descent.png"}
    nowhere = ProbeResults({"descent": replace(descent, start_loss=np.inf)})
    drawn = plot_inspection(tmp_path, make_inspection(layers=(), probes=nowhere))
    assert names(drawn) == {"descent.png"}


@pytest.mark.parametrize("depths", [(4, 4), (4, 40)])
def test_variants_share_one_picture(tmp_path, make_inspection, depths):
    variants = tuple(make_inspection(depth, label=f"depth={depth}") for depth in depths)
    both = SideBySide("model=mlp", "variants", variants)
    assert names(plot_inspection(tmp_path, both)) == {"depth_profile.png"}


def test_no_global_figure_is_made(tmp_path, monkeypatch, make_run_inspection):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it now fails
    assert plot_inspection(tmp_path, make_run_inspection())


def test_titles_name_the_model(make_inspection):
    fresh = make_inspection(target="data=mnist5k", model="mlp")
    assert _name(fresh.target, [fresh]) == "mlp (data=mnist5k)"
    assert _name("", [fresh]) == "mlp"
    other = make_inspection(target="model=cnn", model="cnn")
    assert _name("data=mnist5k", [fresh, other]) == "data=mnist5k"


def test_titles_name_a_run_without_its_folder(make_run_inspection):
    run = make_run_inspection(target="/a/long/folder/runs/20260101T000000Z-a-0000", model="mlp")
    assert _name(run.target, [run]) == "mlp (20260101T000000Z-a-0000)"
    assert _name("'/my runs/20260101T000000Z-a-0000'", [run]) == "mlp (20260101T000000Z-a-0000)"


def test_the_profile_has_no_empty_half(make_inspection, make_layer_report):
    def panels(**layer):
        inspection = make_inspection(layers=(make_layer_report(**layer),))
        return [axes for axes in _depth_figure([inspection], "").axes if axes.lines]

    assert len(panels(input_grad_norm=0.5)) == 2
    assert len(panels(input_grad_norm=0.0)) == 2  # which is known: the gradient has vanished
    unknown = make_inspection(layers=(make_layer_report(input_grad_norm=np.nan),))
    assert len(_depth_figure([unknown], "").axes) == 1


@pytest.mark.parametrize("deepest", [1, 2, 11, 12, 13, 21, 24, 100])
def test_the_names_along_the_depth_are_evenly_spaced(deepest):
    ticks = list(_ticks(deepest))
    assert 1 <= len(ticks) <= MOST_DEPTH_NAMES
    assert ticks[-1] == deepest - 1
    assert len(set(np.diff(ticks))) <= 1
