"""Faults planted into real trainings and models: each is found, in its layer, and fixed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from gradcli.records import Finding
from gradcli.runs import load_run
from gradcli.views.findings import with_override


@dataclass(frozen=True)
class Case:
    """A config, and what is to be found: `after` a training, or in the `fresh` model."""

    when: str
    overrides: str
    code: str
    layers: tuple[str | None, ...] = (None,)
    look: str = ""
    """How it is looked at: overrides of the inspection."""

    @property
    def name(self) -> str:
        return f"{self.when}: {self.overrides} {self.look}".strip()


DEEP = "model=deep_mlp"
FIRST = ("hidden1", "hidden2", "hidden3")
SECOND = ("hidden2",)
ANY = ("hidden1", "hidden2", "output")
ALL = (None, *ANY)
RAW = "data.normalize=none optimizer=sgd optimizer.lr=0.01 clip=none"
SCALED = RAW.replace("data.normalize=none ", "")
CNN = "model=cnn clip=none schedule=constant max_steps=48"

FAULTS = (
    # Gradients that get lost
    Case("fresh", f"{DEEP} activation=sigmoid init=xavier", "vanishing", FIRST),
    Case("after", f"{DEEP} activation=sigmoid init=xavier", "vanishing", FIRST),
    Case("fresh", f"{DEEP} init=normal init.std=0.02", "vanishing", FIRST),
    Case("after", f"{DEEP} init=normal init.std=0.02", "vanishing", FIRST),
    Case("fresh", "init=normal init.std=0.0001", "vanishing", ("hidden1",)),
    Case("fresh", f"{DEEP} init=kaiming init.gain=0.5", "vanishing", FIRST),
    Case("fresh", "model=rnn model.cell=tanh", "vanishing", ("rnn",)),
    # ... or grow beyond measure
    Case("fresh", f"{DEEP} init=normal init.std=0.6", "exploding", FIRST),
    Case("after", f"{DEEP} init=normal init.std=0.6", "exploding", FIRST),
    Case("fresh", f"{DEEP} init=kaiming init.gain=3", "exploding", FIRST),
    Case("fresh", f"{DEEP} init=kaiming model.residual=true", "exploding", FIRST),
    Case("after", f"{DEEP} init=kaiming model.residual=true", "exploding", FIRST),
    Case("fresh", "model=rnn model.cell=tanh init=normal init.std=0.3", "exploding", ("rnn",)),
    Case("after", "init=normal init.std=1", "exploding", ("hidden1",)),
    # Layers and units that take no part
    Case("fresh", "model=dead", "dead-units", SECOND),
    Case("after", "model=dead", "dead-units", SECOND),
    Case("after", "model=dead", "dead-units", SECOND, look="probes=[signals]"),
    Case("fresh", "model=mostly_dead", "dead-units", SECOND),
    Case("after", "model=mostly_dead", "dead-units", SECOND, look="probes=[signals]"),
    Case("fresh", "activation=tanh init=normal init.std=1", "saturated", ("hidden1", "hidden2")),
    Case("fresh", "activation=sigmoid init=normal init.std=1", "saturated", ("hidden1", "hidden2")),
    Case(
        "after",
        "activation=tanh init=normal init.std=1",
        "saturated",
        ("hidden1", "hidden2"),
        look="probes=[signals]",
    ),
    # Non-finite values
    Case("fresh", "model=nan_forward", "non-finite", SECOND),
    Case("after", "model=nan_forward", "non-finite", SECOND),
    Case("after", "model=late_nan", "non-finite", SECOND),
    Case("fresh", "model=nan_backward", "non-finite", SECOND),
    Case("after", "model=nan_backward", "non-finite", SECOND),
    Case("fresh", "model=infinite_loss", "non-finite"),
    Case("after", "model=infinite_loss", "non-finite"),
    Case("after", "optimizer=sgd optimizer.lr=50 clip=none", "non-finite", ANY),
    Case("after", "optimizer.eps=0", "non-finite", ANY),
    # Derivatives that are none
    Case("fresh", "model=wrong", "wrong-gradient", SECOND, look="check=true"),
    # Steps that are too long, too short, or go anywhere
    Case("after", "optimizer.lr=0.2", "lr-too-high", ANY),
    Case("after", "optimizer=sgd optimizer.lr=50", "lr-too-high", ANY),
    Case("after", "optimizer=momentum optimizer.lr=10", "lr-too-high", ("hidden2", "output")),
    # No layer's update is large, but those of twenty layers add up.
    Case(
        "after",
        f"{DEEP} init=kaiming optimizer=momentum optimizer.lr=1 seed=3 max_steps=150 epochs=10",
        "lr-too-high",
        ("hidden1",),
    ),
    # A loss that rounds to 0 for some batches is still one that should fall.
    Case("after", "batch_size=1 optimizer.lr=0.03 max_steps=300", "lr-too-high", ANY),
    Case("after", "model=logreg optimizer.lr=30 max_steps=300 epochs=10", "lr-too-high", ANY),
    # A loss that has just fallen past the limit.
    Case("after", "optimizer=momentum optimizer.lr=0.0005 max_steps=300 epochs=10", "lr-too-low"),
    Case("after", "optimizer.lr=2e-6", "lr-too-low"),
    Case("after", "optimizer=sgd optimizer.lr=5e-4", "lr-too-low"),
    Case("after", "optimizer=sgd clip.max_norm=0.01", "always-clipped"),
    Case("after", "optimizer=sgd clip=per_layer clip.max_norm=0.001", "always-clipped"),
    Case("after", "batch_size=1 max_steps=200", "noise-dominated"),
    Case("after", "batch_size=2 max_steps=200 optimizer=sgd", "noise-dominated"),
    Case("fresh", "batch_size=2", "noise-dominated", look="probes=[noise]"),
    Case(
        "after", "schedule=step schedule.milestones=[0.5] schedule.gamma=100", "spike", ("output",)
    ),
    Case(
        "after",
        "schedule=step schedule.milestones=[0.5] schedule.gamma=50 optimizer=sgd clip=none",
        "non-finite",
        ANY,
    ),
    Case("after", "model=blind", "labels"),
    # What the data or the optimizer's settings do, and not the learning rate
    Case("after", "optimizer=sgd optimizer.weight_decay=1", "weight-decay-too-strong", ALL),
    Case("after", "optimizer.weight_decay=1", "weight-decay-too-strong", ALL),
    Case("after", f"{RAW} init=kaiming", "unscaled-inputs", ("hidden1",)),
)

# Each has one cause; what the advice for it leads to is as good as the twin without the fault.
MENDED = (
    ("optimizer=sgd optimizer.weight_decay=1", "optimizer=sgd", "weight-decay-too-strong"),
    ("optimizer=adam optimizer.weight_decay=1", "optimizer=adam", "weight-decay-too-strong"),
    ("optimizer=rmsprop optimizer.weight_decay=1", "optimizer=rmsprop", "weight-decay-too-strong"),
    (RAW, SCALED, "unscaled-inputs"),
    (f"{RAW} init=kaiming", f"{SCALED} init=kaiming", "unscaled-inputs"),
    (f"{CNN} optimizer=sgd optimizer.lr=1", f"{CNN} optimizer=sgd", "lr-too-high"),
    (f"{CNN} optimizer=momentum optimizer.lr=0.5", f"{CNN} optimizer=momentum", "lr-too-high"),
)

HEALTHY_MODELS = (
    # Of the default model's rectifiers half are off for any one example, and none for all.
    *("", "model=cnn max_steps=40", "model=rnn", "model=logreg", "activation=tanh"),
    f"{DEEP} init=kaiming",
    f"{DEEP} model.norm=batch",
    f"{DEEP} model.norm=layer",
    f"{DEEP} model.norm=layer model.residual=true",
)
HEALTHY_TRAININGS = (
    *("optimizer=sgd", "optimizer=momentum", "optimizer=rmsprop", "optimizer=adagrad"),
    *("clip=none", "clip=value", "clip=agc", "clip=autoclip", "schedule=onecycle"),
    "max_steps=280",
)


@pytest.fixture(scope="module")
def findings(train, inspect):
    """Train or build, and look."""

    def of(when: str, words: list[str], look: str) -> tuple[Finding, ...]:
        how = look.split()
        if when == "fresh":
            return inspect(*words, *how).findings
        return inspect(*how, target=train(*words)).findings

    return of


def graver(found: tuple[Finding, ...]) -> set[str]:
    return {finding.code for finding in found if finding.severity != "info"}


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.name)
def test_a_planted_fault_is_found_in_its_layer_and_fixed(case, findings):
    found = findings(case.when, case.overrides.split(), case.look)
    planted = next((finding for finding in found if finding.code == case.code), None)
    assert planted is not None, [finding.code for finding in found]
    assert planted.severity in ("warning", "error")
    assert planted.layer in case.layers
    assert planted.evidence
    assert planted.threshold
    assert "healthy" not in {finding.code for finding in found}
    for advice in {finding.override for finding in found} - {None}:
        words = with_override(case.overrides.split(), advice)
        mended = findings(case.when, words, case.look)
        grave = [finding for finding in found if finding.override == advice]
        assert not graver(mended) & {finding.code for finding in grave}, advice


@pytest.mark.parametrize(
    ("when", "overrides"),
    [
        *(("fresh", overrides) for overrides in HEALTHY_MODELS),
        *(("after", overrides) for overrides in HEALTHY_MODELS + HEALTHY_TRAININGS),
    ],
)
def test_a_healthy_model_gets_no_warning(when, overrides, findings):
    found = findings(when, overrides.split(), "probes=[signals]")
    assert graver(found) == set()
    assert "healthy" in {finding.code for finding in found}


@pytest.mark.parametrize("when", ["fresh", "after"])
def test_a_frozen_layer_is_a_remark_and_no_fault(when, findings):
    found = findings(when, ["model=frozen"], "")
    assert (found[0].code, found[0].severity) == ("frozen", "info")
    assert found[0].layer in SECOND
    assert graver(found) == set()


def test_the_advice_for_a_fault_is_an_improvement_that_can_be_measured(train, inspect):
    """Beyond the findings: the numbers get better by orders of magnitude."""
    ill = inspect("model=deep_mlp", "activation=sigmoid", "init=xavier")
    well = inspect("model=deep_mlp", *ill.findings[0].override.split())
    assert ill.depth_slope.decades > 0.5
    assert abs(well.depth_slope.decades) < 0.1
    words = ["optimizer=sgd", "optimizer.lr=50"]
    ill = inspect(target=train(*words))
    well = inspect(target=train(*with_override(words, ill.findings[0].override)))
    assert ill.convergence.last_loss > math.log(10) * 0.9
    assert well.convergence.last_loss < 0.5


@pytest.mark.parametrize(("ill", "twin", "cause"), MENDED)
def test_the_advice_leads_to_what_the_sound_twin_reaches(train, inspect, ill, twin, cause):
    found = inspect(target=train(*ill.split()))
    assert (found.verdict, found.findings[0].follows_from) == (cause, None)
    mended = train(*with_override(ill.split(), found.findings[0].override))
    accuracies = [load_run(run).evals[-1].score for run in (mended, train(*twin.split()))]
    assert accuracies[0] > accuracies[1] - 0.05, accuracies


def test_there_are_enough_cases_and_every_code_is_among_them():
    assert len(FAULTS) >= 25
    assert {case.code for case in FAULTS} == {
        *("vanishing", "exploding", "dead-units", "saturated", "non-finite", "labels"),
        *("spike", "lr-too-high", "lr-too-low", "always-clipped", "noise-dominated"),
        *("wrong-gradient", "weight-decay-too-strong", "unscaled-inputs"),
    }
