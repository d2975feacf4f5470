import pytest

from gradcli.inspection.inspection import ProbeCost, ProbeResults
from gradcli.views.inspect.probe_sentences import cost_phrase, probe_sentences


def test_probes_that_were_not_run_are_not_mentioned(make_inspection):
    assert probe_sentences(make_inspection()) == {}
    costs = ProbeResults(costs={"signals": ProbeCost(0.2, 1.0)}, refused={"noise": "batch norm"})
    assert probe_sentences(make_inspection(probes=costs)) == {}


def test_each_probe_tells_its_own_result_in_the_order_of_the_registry(make_inspection):
    probes = ProbeResults({"alpha": (), "cosine": (0.5, 0.5)})
    said = probe_sentences(make_inspection(probes=probes))
    assert list(said) == ["cosine", "alpha"]
    assert said["cosine"] == [
        "mean +0.50 (+0.50 to +0.50 over 2 steps): consecutive gradients agree"
    ]
    assert said["alpha"] == ["unknown: no step was made"]


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
