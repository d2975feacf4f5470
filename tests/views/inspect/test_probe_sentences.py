import math

import numpy as np
import pytest

from gradcli.inspection.inspection import ProbeCost, ProbeResults
from gradcli.probes.alpha import StepFit
from gradcli.probes.check import Agreement, GradientCheck
from gradcli.probes.descent import DescentCurve
from gradcli.probes.hidden_states import HiddenStateGradients
from gradcli.probes.histograms import LayerHistogram, LogHistogram
from gradcli.probes.noise import GradientNoise, Interval
from gradcli.probes.sharpness import Sharpness
from gradcli.probes.slope import LogSlope
from gradcli.records import DECADES
from gradcli.views.inspect.probe_sentences import cost_phrase, probe_sentences


@pytest.fixture
def said(make_inspection):
    """Say what one probe found."""

    def say(**probe: object) -> str:
        ((name, sentences),) = probe_sentences(
            make_inspection(probes=ProbeResults(**probe))
        ).items()
        assert name == next(iter(probe)).replace("_", "-")
        return "\n".join(sentences)

    return say


def test_nothing_is_said_of_probes_that_were_not_asked_for(make_inspection):
    assert probe_sentences(make_inspection()) == {}
    always = ProbeResults(costs={"signals": ProbeCost(0.2, 1.0)})
    assert probe_sentences(make_inspection(probes=always)) == {
        "signals": ["forward and back through every layer with 512 examples"]
    }


@pytest.mark.parametrize(
    ("cost", "phrase"),
    [
        (ProbeCost(0.0312, 13.0), "cost: 31 ms, 13 forward-backward passes"),
        (ProbeCost(2.34, 1234.5), "cost: 2.3 s, 1,234 forward-backward passes"),
        (ProbeCost(0.5, 1.0), "cost: 500 ms, 1.0 forward-backward passes"),
        (ProbeCost(0.5, 0.25), "cost: 500 ms, 0.2 forward-backward passes"),
    ],
)
def test_what_a_probe_costs(cost, phrase):
    assert cost_phrase(cost) == phrase


def histogram(layer: str, values: int, zeros: int, non_finite: int = 0) -> LayerHistogram:
    counts = np.zeros(len(DECADES), dtype=np.int64)
    counts[20] = values
    return LayerHistogram(layer, LogHistogram(counts, 0 * counts, zeros, non_finite))


def test_histograms_name_the_layer_with_most_zeros(said):
    text = said(histograms=(histogram("hidden1", 90, 10), histogram("output", 50, 50)))
    assert text == "30% of all elements exactly zero, most in output (50%)"
    assert said(histograms=(histogram("a", 10, 0, 3),)) == (
        "0% of all elements exactly zero; 3 not finite"
    )


@pytest.mark.parametrize(
    ("cosines", "meaning"),
    [((0.8, 0.4), "agree"), ((0.1, -0.1), "noise rules"), ((-0.5, -0.9), "to and fro")],
)
def test_cosines(said, cosines, meaning):
    text = said(cosine=cosines)
    assert meaning in text
    assert f"mean {sum(cosines) / 2:+.2f}" in text
    assert "not known" in said(cosine=(math.nan,))


@pytest.mark.parametrize(
    ("ends", "meaning"),
    [
        ((200.0, 900.0), "128 is mostly noise"),
        ((10.0, 90.0), "128 is mostly signal"),
        ((50.0, math.inf), "128 may be on either side"),
    ],
)
def test_noise_is_held_against_the_batch(said, ends, meaning):
    noise = GradientNoise(512, 1.0, Interval(420.4, *ends), 0.0123, 0.5, 0.25, ())
    text = said(noise=noise)
    assert meaning in text
    assert "noise scale 420 (95%: " in text
    assert "GSNR excess 0.0123" in text


def test_sharpness_keeps_its_sign_and_meets_its_threshold(said):
    text = said(sharpness=Sharpness(3.0, -8.0, 12.0, 10.0, "2 / lr", 60))
    assert "largest eigenvalue of the Hessian 3.00; the dominant one is -8.00" in text
    assert "12.0, unstable: beyond the 10.0 of 2 / lr" in text
    calm = said(sharpness=Sharpness(3.0, 3.0, 3.0, 10.0, "2 / lr", 60))
    assert "dominant" not in calm
    assert "3.00, stable: below the 10.0" in calm
    unknown = said(sharpness=Sharpness(math.nan, math.nan, math.nan, math.nan, "", 60))
    assert unknown == "largest eigenvalue of the Hessian not found"


@pytest.mark.parametrize(
    ("alpha", "meaning"),
    [(-0.9, "well before"), (0.1, "near"), (0.9, "beyond"), (1.2, "overshoot")],
)
def test_alpha(said, alpha, meaning):
    fits = tuple(StepFit(one, 1.0, 0.1, 2.0, 1.9, -1.0, 0.0) for one in (alpha, math.nan))
    text = said(alpha=fits)
    assert meaning in text
    assert f"median {alpha:+.2f}" in text
    assert "over 1 step" in text


def curve(**changes: object) -> DescentCurve:
    lengths = np.array([0.001, 0.01, 0.1, 1.0])
    values: dict[str, object] = {
        "steps": 20 * lengths,
        "relative_lengths": lengths,
        "losses": np.array([2.2, 1.5, 2.0, np.inf]),
        "start_loss": 2.3,
        "slope": -5.0,
        "best_step": 0.2,
        "best_loss": 1.5,
        "descends_to": 2.0,
    }
    return DescentCurve(**(values | changes))


def test_descent_says_how_far(said):
    text = said(descent=curve())
    assert "falls from 2.3000 to 1.5000, at 0.200 times the gradient (1% of the weights'" in text
    assert "below its start up to 2.00 times the gradient" in text
    assert "does not lower the loss" in said(descent=curve(best_step=0.0, descends_to=0.0))


def states(**changes: object) -> HiddenStateGradients:
    values: dict[str, object] = {
        "module": "rnn",
        "layer": 0,
        "reverse": False,
        "hidden": np.array([1e-6, 1e-4, 0.01]),
        "cell": None,
        "slope": LogSlope(2.0, 1.0, 3),
    }
    return HiddenStateGradients(**(values | changes))


def test_hidden_states_have_both_ends_in_time(said):
    assert said(hidden_states=(states(),)) == (
        "rnn layer 0: 1.00e-06 at time 1, 0.0100 at time 3; slope +2.000 decades a time step"
    )
    many = said(hidden_states=(states(reverse=True),) * 6)
    assert many.startswith("rnn layer 0 backwards")
    assert many.endswith("and 2 more layers")


def test_check_names_what_is_wrong_and_what_cannot_be_told(said):
    right, wrong = Agreement("a", 1e-8, 1.0, 1e-9), Agreement("b", 0.5, 1.0, 1e-9)
    drowned = Agreement("c", 0.5, 1e-12, 1e-9)
    assert said(check=GradientCheck((right, wrong), (right, wrong))) == (
        "autograd is wrong in b: it differs from central differences by 50%"
    )
    text = said(check=GradientCheck((right, drowned), (right,)))
    assert "agrees with central differences in 2 layers, to 1e-08 or better" in text
    assert text.endswith("the gradient is too small to tell in c")
