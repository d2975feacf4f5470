"""`runs diff` names the layer in which two runs part: the layer that a test has changed."""

import json
import math

import pytest
import torch
from planted_pairs import (
    MODELS,
    at_precision,
    drawn_anew,
    flipped_bit,
    frozen,
    train,
)
from torch import nn

from gradcli.views.runs.parting_sentences import growth_sentence, place_sentence

SEEDS = [("mlp", "hidden2"), ("cnn", "conv2"), ("rnn", "recurrent"), ("deep_mlp", "hidden5")]
RATES = [("mlp", "hidden1"), ("cnn", "conv1"), ("rnn", "output"), ("deep_mlp", "hidden3")]
FLIPS = [("mlp", "output"), ("cnn", "conv2"), ("rnn", "recurrent"), ("deep_mlp", "hidden7")]


def named(found):
    place = found.first_place
    return place.step, place.stage, place.layer, place.sure


@pytest.mark.parametrize(("model", "layer"), SEEDS)
def test_a_layer_drawn_with_another_seed(pair_of, model, layer):
    found = pair_of(model, prepare=drawn_anew(layer))
    assert named(found) == (1, "weights", layer, True)
    assert f"part in {layer} at step 1: the initial weights" in place_sentence(found.first_place)


@pytest.mark.parametrize(("model", "layer"), RATES)
def test_a_layer_with_another_learning_rate(pair_of, model, layer):
    found = pair_of(model, rates={layer: 0.06})
    assert named(found) == (2, "update", layer, True)
    (reason,) = found.first_place.reasons
    assert (reason.key, reason.a, reason.b) == (f"{layer} learning rate", 0.05, 0.06)
    # The rates are settings of the groups of the optimizer, each with its own key.
    assert all(one.key == "lr" or one.key.endswith(".lr") for one in found.settings)
    assert 0.06 in [one.b for one in found.settings]


def test_a_rate_that_differs_in_each_layer_is_told_once_and_rounded(pair_of):
    layers = [f"hidden{number}" for number in range(1, 9)] + ["output"]
    found = pair_of("deep_mlp", rates=dict.fromkeys(layers, 0.1 + 0.2))
    said = place_sentence(found.first_place)
    assert "(the learning rate of each of them is 0.05 in a, 0.3 in b)" in said
    two = dict.fromkeys(layers[:5], 0.1 + 0.2) | dict.fromkeys(layers[5:], 0.0500123)
    said = place_sentence(pair_of("deep_mlp", rates=two).first_place)
    assert "(the learning rate of hidden1, hidden2, hidden3 and 2 others is 0.05 in a, 0.3" in said
    assert "of hidden6, hidden7, hidden8 and 1 other is 0.05 in a, 0.05001 in b)" in said


@pytest.mark.parametrize("bit", [0, 20])
@pytest.mark.parametrize("step", [1, 37])
@pytest.mark.parametrize(("model", "layer"), FLIPS)
def test_a_flipped_bit(pair_of, model, layer, step, bit):
    """Also the last bit, which no loss and no gradient norm may ever show."""
    found = pair_of(model, at_step={step: flipped_bit(layer, bit)})
    assert named(found) == (step, "weights" if step == 1 else "update", layer, True)
    assert not found.steps_are_same
    assert found.first_place.equal_at == step - 1


@pytest.mark.parametrize(("model", "layer"), [("mlp", "hidden2"), ("cnn", "conv1")])
def test_a_layer_rounded_through_bfloat16(pair_of, model, layer):
    found = pair_of(model, prepare=at_precision(layer, torch.bfloat16))
    assert named(found) == (1, "output", layer, True)
    assert not found.first_place.is_rounding


@pytest.mark.parametrize(("model", "layer"), [("mlp", "hidden2"), ("deep_mlp", "output")])
def test_a_layer_computed_in_float64(pair_of, model, layer):
    found = pair_of(model, prepare=at_precision(layer, torch.float64, whole=True))
    assert named(found) == (1, "output", layer, True)
    assert found.first_place.is_rounding
    assert "no further apart than rounding" in place_sentence(found.first_place)


@pytest.mark.parametrize(("model", "layer"), [("mlp", "hidden2"), ("deep_mlp", "hidden4")])
def test_a_frozen_layer(pair_of, model, layer):
    found = pair_of(model, prepare=frozen(layer))
    assert named(found) == (1, "gradient", layer, True)
    assert [(one.key, one.a, one.b) for one in found.first_place.reasons] == [
        (f"{layer} trained", True, False)
    ]
    assert f"in the backward pass at {layer} at step 1" in place_sentence(found.first_place)
    assert "(trained in a only)." in place_sentence(found.first_place)


def test_dropout_in_one_place_is_before_the_next_layer(pair_of):
    def change(model):
        model.activation2 = nn.Sequential(nn.ReLU(), nn.Dropout(0.3))

    found = pair_of("deep_mlp", prepare=change)
    assert named(found) == (1, "input", "hidden3", True)
    assert "part just before hidden3 at step 1" in place_sentence(found.first_place)


def test_a_layer_more_is_named(pair_of):
    def change(model):
        model.activation1 = nn.Sequential(nn.ReLU(), nn.LayerNorm(16))

    found = pair_of("mlp", prepare=change)
    assert (found.first_place.stage, found.first_place.layers) == ("layers", ("activation1.1",))
    assert found.layer_courses == ()


@pytest.mark.parametrize("model", MODELS)
def test_another_seed_of_all_weights_names_no_layer(pair_of, model):
    place = pair_of(model, seed=1).first_place
    assert (place.scope, place.layer, place.stage) == ("all", None, "weights")
    assert "all layers at once" in place_sentence(place)


@pytest.mark.parametrize("model", MODELS)
def test_another_order_of_the_batches_names_no_layer(pair_of, model):
    place = pair_of(model, order=1).first_place
    assert (place.scope, place.layer, place.stage) == ("none", None, "batch")
    assert "No layer is to blame" in place_sentence(place)


def test_rounding_is_not_blamed_on_a_layer_if_the_runs_were_made_differently(pair_of, tmp_path):
    from gradcli.inspection.run_difference import difference

    one = train(tmp_path, "mlp")
    other = train(tmp_path, "mlp", prepare=at_precision("hidden2", torch.float64, whole=True))
    state = other.state["info"]
    state["threads"] = state["threads"] + 1
    place = difference(one, other).first_place
    assert (place.scope, place.layer) == ("none", None)
    assert "no layer is to blame" in place_sentence(place)
    # A real difference is blamed on its layer all the same.
    real = train(tmp_path, "mlp", prepare=at_precision("hidden2", torch.bfloat16))
    real.state["info"]["threads"] = state["threads"]
    assert difference(one, real).first_place.layer == "hidden2"


@pytest.mark.parametrize("steps", [45, 120])
def test_a_change_between_two_observations_is_not_blamed_on_a_layer(pair_of, steps):
    common = {"monitor": {"every": 100}, "steps": steps}
    found = pair_of("mlp", common=common, at_step={37: flipped_bit("hidden2")})
    place = found.first_place
    assert (place.stage, place.scope, place.layer, place.sure) == (
        *("unobserved", "unknown"),
        *(None, False),
    )
    assert (place.step, place.equal_at) == (found.first_different_step, 10)
    assert "Not sure in which layer" in place_sentence(place)


def test_runs_of_before_fingerprints_are_told_by_the_norms_of_their_weights(tmp_path):
    from gradcli.inspection.run_difference import difference

    runs = [
        train(tmp_path, "mlp", steps=4),
        train(tmp_path, "mlp", steps=4, prepare=drawn_anew("hidden2")),
        train(tmp_path, "mlp", steps=4, seed=1),
    ]
    for run in runs:
        run.__dict__["fingerprints"] = ()
    place = difference(runs[0], runs[1]).first_place
    assert (place.layer, place.sure) == ("hidden2", False)
    assert "probably part in hidden2" in place_sentence(place)
    assert difference(runs[0], runs[2]).first_place.scope == "all"


def test_the_same_twice_parts_nowhere(pair_of):
    found = pair_of("mlp")
    assert (found.first_place, found.growth, found.layer_courses) == (None, None, ())
    assert found.steps_are_same


def test_a_loop_that_failed_is_compared_as_far_as_it_came(tmp_path):
    from gradcli.inspection.run_difference import difference
    from gradcli.runs import list_runs

    def stop(step):
        if step == 3:
            raise KeyboardInterrupt

    one = train(tmp_path / "a", "mlp", steps=6)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "b", "mlp", steps=6, rates={"output": 0.2}, end=stop)
    (other,) = list_runs(tmp_path / "b")
    assert named(difference(one, other)) == (2, "update", "output", True)


def test_the_command_says_it_in_text_and_json(tmp_path, gradcli):
    one = train(tmp_path, "mlp", steps=12)
    other = train(tmp_path, "mlp", steps=12, at_step={3: flipped_bit("hidden2", 22)})
    text = gradcli("runs", "diff", str(one.path), str(other.path))
    assert text.code == 0
    assert "The runs part in hidden2 at step 3" in " ".join(text.out.split())
    said = json.loads(gradcli("runs", "diff", str(one.path), str(other.path), "--json").out)
    place = said["first_place"]
    assert (place["layer"], place["step"], place["sure"]) == ("hidden2", 3, True)
    assert [one["name"] for one in said["layer_courses"]] == ["hidden1", "hidden2", "output"]
    assert said["growth"]["points"][0]["step"] == said["first_different_step"]


def test_distances_are_those_of_the_logs(pair_of):
    found = pair_of("mlp", prepare=drawn_anew("hidden2"))
    step, loss, gradients = found.growth.points[0]
    assert step == 1 and 0 < loss < 1 and 0 < gradients < 1
    sentence = growth_sentence(found.growth)
    assert f"{gradients:.3f}" in sentence or f"{gradients:.2e}" in sentence
    assert math.isnan(found.growth.steps_per_tenfold) or found.growth.course == "exponential"
