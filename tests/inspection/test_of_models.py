"""Inspections of models, fresh or from a checkpoint: measured alike, and left as they were."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradcli.config import compose_train
from gradcli.data import Batches, epoch_order, load_dataset
from gradcli.errors import UserError
from gradcli.gradients.layers import find_layers
from gradcli.inspection.inspection import SideBySide
from gradcli.probes.alpha import ALPHA
from gradcli.probes.check import CHECK
from gradcli.probes.cosine import COSINE
from gradcli.probes.descent import DESCENT
from gradcli.probes.hidden_states import HIDDEN_STATES
from gradcli.probes.histograms import HISTOGRAMS
from gradcli.probes.noise import NOISE
from gradcli.probes.registry import choose_probes, selectable_probes
from gradcli.probes.sharpness import SHARPNESS
from gradcli.runs import load_checkpoint
from gradcli.workflows.building import build_trainer

SMALL = ("model.hidden=[20,12]", "examples=256")


@pytest.fixture(scope="module")
def fresh(inspect):
    return inspect(*SMALL, "probes=[all]", "check=true")


@pytest.fixture(scope="module")
def by_hand():
    """The same model and the same 256 examples, differentiated in one go."""
    dataset = load_dataset("mnist5k")
    composed = compose_train(["data=mnist5k", "model.hidden=[20,12]"])
    model = build_trainer(composed, dataset).model
    source = Batches(dataset.train, 256, normalize="mean_std", mean=dataset.mean, std=dataset.std)
    inputs, labels = source.gather(epoch_order(source.size, 0, 1)[:256])
    loss = F.cross_entropy(model(inputs), labels)
    loss.backward()
    return model, loss.detach()


def test_a_fresh_model_is_measured_as_autograd_measures_it(fresh, by_hand):
    model, loss = by_hand
    assert (fresh.kind, fresh.step, fresh.status, fresh.examples) == ("fresh", 0, None, 256)
    assert fresh.loss == pytest.approx(float(loss), rel=1e-5)
    assert fresh.history is None
    for layer, info in zip(fresh.layers, find_layers(model), strict=True):
        parameters = [model.get_parameter(parameter.name) for parameter in info.parameters]
        norm = torch.cat([parameter.grad.flatten() for parameter in parameters]).norm()
        assert layer.weight_grad_norm == pytest.approx(float(norm), rel=1e-4)
        weight = model.get_submodule(layer.name).weight.detach()
        assert layer.weight_rms == pytest.approx(float(weight.square().mean().sqrt()), rel=1e-5)
        assert layer.output.std > 0
        assert layer.output_grad.rms > 0


def test_the_update_ratio_of_a_fresh_model_is_that_of_its_first_step(fresh, train):
    from gradcli.runs import load_run

    recorded = load_run(train("model.hidden=[20,12]")).layer_records[0].update_ratio
    # A schedule's first step does not depend on the length of the run.
    assert [layer.update_ratio for layer in fresh.layers] == pytest.approx(recorded, rel=1e-4)


def test_every_probe_runs_or_says_why_not_and_states_its_cost(fresh):
    costs, refused = fresh.probes.costs, fresh.probes.refused
    assert set(costs) | set(refused) == {*selectable_probes(), "check"}
    assert set(refused) == {"hidden-states"}
    assert "the model has none" in refused["hidden-states"]
    assert all(cost.seconds > 0 and cost.passes > 0 for cost in costs.values())
    assert set(fresh.probes.found) == set(costs)
    cosines = fresh.probes.of(COSINE)
    assert len(fresh.probes.of(ALPHA)) == len(cosines) == 5
    assert all(-1 <= cosine <= 1 for cosine in cosines)
    assert fresh.probes.of(DESCENT).descends
    assert fresh.probes.of(CHECK).wrong == ()


def test_units_that_are_off_for_one_example_are_not_dead(inspect):
    """Half of a rectifier's activations are zero in good health; a dead unit is zero always."""
    found = inspect("examples=512")
    for layer in found.layers[:-1]:
        # 1 / sqrt(pi) if half of a normal signal is zero, sqrt(2 / pi) = 0.80 if none is.
        assert layer.activation.mean / layer.activation.rms == pytest.approx(
            1 / math.sqrt(math.pi), abs=0.1
        )
        assert layer.dead_fraction < 0.05
        assert math.isnan(layer.saturated_fraction)


def test_nothing_is_called_healthy_beyond_what_was_tested(inspect, fresh):
    bare = inspect(*SMALL)
    assert bare.verdict == "healthy"
    assert {"dead-units", "saturated", "vanishing", "exploding"} <= set(bare.tested)
    assert {"wrong-gradient", "lr-too-high", "plateau"} <= set(bare.not_tested)
    assert "wrong-gradient" in fresh.tested
    assert "20 steps" in bare.not_tested["lr-too-high"]


def test_a_recurrent_model_is_probed_through_time_by_default(inspect):
    found = inspect("model=rnn", "model.hidden=16", "examples=64")
    (states,) = found.probes.of(HIDDEN_STATES)
    assert (states.module, states.hidden.shape) == ("rnn", (28,))


def test_batch_norm_refuses_the_noise_probe_and_dropout_does_not(inspect):
    found = inspect(*SMALL, "model.norm=batch", "probes=[noise]")
    assert "batch norm" in found.probes.refused["noise"]
    assert found.probes.of(NOISE) is None
    found = inspect(*SMALL, "model.dropout=0.5", "probes=[noise]")
    assert found.probes.of(NOISE).examples == 256


def test_inspecting_changes_nothing_outside(inspect):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    first = inspect(*SMALL, "model.dropout=0.5", "probes=[all]")
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert before[2] == torch.get_num_threads()
    again = inspect(*SMALL, "model.dropout=0.5", "probes=[all]")
    assert [layer.weight_grad_norm for layer in first.layers] == [
        layer.weight_grad_norm for layer in again.layers
    ]
    assert first.probes.of(COSINE) == again.probes.of(COSINE)


def test_probes_do_not_see_one_another(inspect, fresh):
    alone = inspect(*SMALL, "probes=[alpha]")
    assert alone.probes.of(COSINE) is None
    # The steps come last, so that all other probes look at the requested model.
    without_steps = inspect(*SMALL, "probes=[sharpness,noise]")
    assert without_steps.probes.of(SHARPNESS) == fresh.probes.of(SHARPNESS)
    assert without_steps.probes.of(NOISE) == fresh.probes.of(NOISE)


def test_a_checkpoint_is_the_model_that_was_trained(train, inspect):
    path = train("model.hidden=[20,12]", "max_steps=60")
    weights = load_checkpoint(path)["model"]
    found = inspect("probes=[signals,noise]", "examples=256", target=path)
    assert (found.kind, found.step, found.examples) == ("checkpoint", 60, 256)
    for layer in found.layers:
        rms = float(weights[f"{layer.name}.weight"].square().mean().sqrt())
        assert layer.weight_rms == pytest.approx(rms, rel=1e-5)
    assert 0 <= found.layers[0].dead_fraction < 0.5
    assert found.history is not None
    assert found.loss < 1.5  # it has learned, as its run has
    assert not {"dead-units", "saturated"} & set(found.not_tested)
    assert math.isfinite(found.layers[0].before_clip.slope)
    assert torch.equal(load_checkpoint(path)["model"]["output.weight"], weights["output.weight"])


def test_a_run_without_a_checkpoint_cannot_be_probed(train, inspect, tmp_path):
    import shutil

    path = shutil.copytree(train("max_steps=60"), tmp_path / "bare")
    shutil.rmtree(path / "checkpoints")
    assert inspect(target=path).verdict == "healthy"
    with pytest.raises(UserError, match="has no checkpoint any more"):
        inspect("probes=[noise]", target=path)


def test_with_non_finite_gradients_probes_say_so(inspect):
    found = inspect("model=nan_backward", "probes=[all]", "check=true")
    assert found.verdict == "non-finite"
    assert found.probes.of(NOISE) is None
    assert "finite" in found.probes.refused["noise"]
    assert set(found.probes.costs) == {"signals"}


def test_variants_stand_side_by_side(inspect):
    found = inspect(
        "model=deep_mlp",
        "examples=64",
        vary=("activation=relu,sigmoid", "init=kaiming,xavier"),
    )
    assert isinstance(found, SideBySide)
    assert [one.label for one in found.inspections] == [
        "activation=relu init=kaiming",
        "activation=relu init=xavier",
        "activation=sigmoid init=kaiming",
        "activation=sigmoid init=xavier",
    ]
    assert found.target == "data=mnist5k threads=1 model=deep_mlp"
    assert found.inspections[3].target.endswith("activation=sigmoid init=xavier")
    assert found.inspections[0].verdict == "healthy"
    assert found.inspections[3].verdict == "vanishing"
    assert {one.code for one in found.findings} >= {"healthy", "vanishing"}


def test_probe_names_are_checked_and_ordered():
    assert choose_probes(["noise", "histograms"]) == (HISTOGRAMS, NOISE)
    assert choose_probes(["all"]) == tuple(selectable_probes().values())
    assert choose_probes([]) == ()
    with pytest.raises(UserError) as caught:
        choose_probes(["sharpnes"])
    assert caught.value.choices == ("sharpness",)
    with pytest.raises(UserError) as caught:
        choose_probes(["check"])
    assert caught.value.hint == "--check"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["modle=cnn"], "modle"),
        (["examples=0"], "examples is 0"),
        (["probes=noise"], "probes is 'noise'"),
        (["activation=relu,tanh"], "several values"),
        (["hydra.run.dir=x"], "Hydra"),
    ],
)
def test_a_wrong_argument_is_a_clear_error(inspect, words, problem):
    with pytest.raises(UserError, match=problem):
        inspect(*words)


def test_only_what_is_looked_at_can_be_varied(inspect):
    with pytest.raises(UserError, match="says how to inspect"):
        inspect(vary=("examples=10,20",))


def test_a_run_cannot_be_rebuilt_otherwise(inspect, train):
    with pytest.raises(UserError, match="would change what") as error:
        inspect("model=cnn", target=train("max_steps=60"))
    assert error.value.hint == "gradcli inspect-gradients model=cnn"
    with pytest.raises(UserError, match="would change what"):
        inspect(target=train("max_steps=60"), vary=("activation=relu,tanh",))


def test_a_model_without_an_activation_has_none(inspect):
    assert inspect("model=logreg", "examples=64").activation == ""
    assert inspect(*SMALL, "activation=tanh").activation == "tanh"


def test_each_probe_is_announced_with_its_number():
    from gradcli.system.paths import Paths
    from gradcli.views.train.train_view import QuietView
    from gradcli.workflows.inspect import inspect_target

    said = []
    inspect_target(
        None,
        ["data=mnist5k", *SMALL, "probes=[cosine,histograms]", "check=true"],
        ["seed=0,1"],
        Paths(),
        QuietView(),
        lambda *words: said.append(words),
    )
    names = ["signals", "histograms", "check", "cosine"]
    assert said == [
        (f"seed={seed}: {name}", number, 4)
        for seed in (0, 1)
        for number, name in enumerate(names, 1)
    ]
