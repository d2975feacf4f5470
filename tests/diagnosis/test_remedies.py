"""What is proposed: for which model, which number, and nothing if no override can help."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gradcli.diagnosis import remedies
from gradcli.records import DataInfo, GroupInfo, LayerInfo, ParameterGroup, ParameterInfo


@pytest.fixture
def deep(run_evidence, setup_record):
    """Return a function that gives evidence of so many layers, all with the same update ratio."""

    def make(count, ratio=0.01, **info):
        layers = tuple(
            LayerInfo(f"layer{at}", "Linear", at, (ParameterInfo(f"layer{at}.weight", (16, 16)),))
            for at in range(count)
        )
        found = run_evidence(setup=setup_record())
        return replace(
            found,
            info=replace(found.info, layers=layers, **info),
            layers=layers,
            update_ratios=np.full((1, count), ratio),
            weights=np.full(count, 16.0),
        )

    return make


OF_ONE_ARGUMENT = [
    remedies.keep_gradients_alive,
    remedies.keep_signals_small,
    remedies.keep_off_the_flat,
    remedies.smooth_schedule,
    remedies.limit_spikes,
    remedies.set_learning_rate,
    remedies.scale_inputs,
    remedies.usual_initialisation,
    remedies.usual_momentum,
    remedies.usual_epsilon,
    remedies.longer_training,
]


@pytest.mark.parametrize("remedy", OF_ONE_ARGUMENT, ids=lambda remedy: remedy.__name__)
def test_a_loop_of_ones_own_has_no_config_to_override(run_evidence, remedy):
    assert remedy(run_evidence()) is not None
    assert remedy(run_evidence(own_loop=True)) is None


def test_nor_has_it_numbers_to_override(run_evidence):
    for own_loop in (False, True):
        evidence = run_evidence(own_loop=own_loop, clip="norm 1.0")
        proposed = [
            remedies.lower_learning_rate(evidence, 10.0),
            remedies.raise_learning_rate(evidence, 1e-3),
            remedies.raise_clip_limit(evidence, 0.02),
            remedies.larger_batches(evidence, 2.0),
            remedies.lower_weight_decay(evidence, 1.0, 1.0),
        ]
        assert [one is None for one in proposed] == [own_loop] * 5


# Initialisations and activations ------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "model", "override"),
    [
        ("tanh", "rnn", "activation=relu init=kaiming"),
        ("gelu", "rnn", "init=orthogonal"),
        ("gelu", "mlp", "init=kaiming"),
        ("", "mlp", "init=kaiming"),
    ],
)
def test_gradients_are_kept_alive_by_a_rectifier_and_its_initialisation(
    run_evidence, activation, model, override
):
    found = run_evidence(activation=activation, model=model)
    assert remedies.keep_gradients_alive(found) == override


@pytest.mark.parametrize(
    ("layers", "model", "activation", "override"),
    [
        (6, "deep_mlp", "relu", "init=default"),
        (7, "deep_mlp", "relu", "init=default model.norm=layer"),
        (7, "mlp", "relu", "init=kaiming"),
        (7, "cnn", "tanh", "init=xavier"),
    ],
)
def test_signals_of_deep_networks_need_more_than_the_default(
    deep, layers, model, activation, override
):
    found = deep(layers, model=model, activation=activation)
    assert remedies.keep_signals_small(found) == override


@pytest.mark.parametrize(
    ("layers", "activation", "override"),
    [(6, "relu", "init=default"), (7, "relu", "init=kaiming"), (7, "tanh", "init=default")],
)
def test_the_usual_initialisation_depends_on_depth_and_activation(
    deep, layers, activation, override
):
    assert remedies.usual_initialisation(deep(layers, activation=activation)) == override


def test_an_activation_is_changed_only_where_there_is_one(run_evidence):
    with_one, without = run_evidence(activation="sigmoid"), run_evidence(activation="")
    assert remedies.keep_units_alive(with_one) == "activation=leaky_relu init=kaiming"
    assert remedies.keep_units_alive(without) is None
    assert remedies.keep_off_the_flat(without) is None


@pytest.mark.parametrize(
    ("steps", "override"),
    [
        (1, "init=xavier"),
        (2, "activation=relu init=kaiming"),
        (100, "activation=relu init=kaiming"),
    ],
)
def test_units_that_began_on_the_flat_part_need_other_weights(run_evidence, steps, override):
    assert remedies.keep_off_the_flat(replace(run_evidence(), steps=steps)) == override


def test_time_steps_are_kept_alive_in_the_recurrent_model_only(run_evidence):
    assert remedies.keep_time_steps_alive(run_evidence(model="rnn")) == "init=orthogonal"
    assert remedies.keep_time_steps_alive(run_evidence(model="mlp")) is None


# The learning rate, which is 0.1 ------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "rate"),
    [
        *((0.0, 0.01), (0.5, 0.01), (1.0, 0.01), (10.0, 0.01), (math.inf, 0.01), (math.nan, 0.01)),
        *((10.1, 0.001), (100.0, 0.001), (101.0, 1e-4)),
    ],
)
def test_a_rate_is_lowered_by_as_many_tens_as_updates_were_too_large(run_evidence, factor, rate):
    assert remedies.lower_learning_rate(run_evidence(), factor) == f"optimizer.lr={rate:g}"


@pytest.mark.parametrize(
    ("second_momentum", "ratio", "rate"),
    [
        (math.nan, 4.0, "0.002"),  # 1.6 times a twentieth is 0.08, a fiftieth of 4
        (math.nan, 0.3, "0.027"),  # 0.08 is 0.267 of it
        (math.nan, 0.2, "0.033"),  # by a third at least
        (0.999, 0.5, "0.01"),  # a twentieth is a tenth of 0.5
    ],
)
def test_the_first_update_tells_to_which_rate(
    run_evidence, setup_record, second_momentum, ratio, rate
):
    group = ParameterGroup(tuple(range(6)), 0.1, second_momentum=second_momentum)
    found = run_evidence(setup=setup_record(groups=(group,)), ratios=(ratio, 0.01, 0.01))
    assert remedies.lower_learning_rate(found, 1e9) == f"optimizer.lr={rate}"


@pytest.mark.parametrize(
    ("ratio", "rate"),
    [
        (2.0, "0.004"),  # each layer's is too large: 0.08 of 2
        (0.5, "0.008"),  # together they are 3: three layers' 0.08 is 0.08 of it
        (0.15, "0.033"),  # together 0.9: a third
    ],
)
def test_updates_of_six_layers_add_up_if_none_is_too_large_by_itself(deep, ratio, rate):
    assert remedies.lower_learning_rate(deep(6, ratio), 1.0) == f"optimizer.lr={rate}"


@pytest.mark.parametrize(
    ("ratio", "rate"),
    [(1e-3, "2"), (5e-3, "0.4"), (0.0, "1"), (0.01, "0.3"), (1.0, "0.3")],
)
def test_a_rate_is_raised_to_that_of_a_good_start_and_threefold_at_least(run_evidence, ratio, rate):
    assert remedies.raise_learning_rate(run_evidence(), ratio) == f"optimizer.lr={rate}"


@pytest.mark.parametrize(
    ("second_momentum", "ratio", "rate"),
    [
        (math.nan, 1e-4, "8"),  # momentum makes that 1e-3: 0.08 is 80 times as much
        (math.nan, 4e-3, "2"),  # twice as much: the first updates say more
        (0.999, 1e-4, "2"),
    ],
)
def test_under_gradient_descent_a_rate_is_raised_to_where_updates_settle(
    run_evidence, setup_record, second_momentum, ratio, rate
):
    group = ParameterGroup(tuple(range(6)), 0.1, momentum=0.9, second_momentum=second_momentum)
    found = run_evidence(setup=setup_record(groups=(group,)), ratios=(ratio,) * 3)
    assert remedies.raise_learning_rate(found, 1e-3) == f"optimizer.lr={rate}"


@pytest.mark.parametrize("rate", [0.0, math.inf, math.nan])
def test_no_rate_follows_from_one_that_is_unknown(run_evidence, rate):
    found = run_evidence(learning_rate=rate)
    assert remedies.lower_learning_rate(found, 10.0) is None
    assert remedies.raise_learning_rate(found, 1e-3) is None
    assert remedies.raise_learning_rate_in_words(found, 1e-3) == "Raise the learning rate."
    said = remedies.lower_learning_rate_in_words(found, 10.0, found.layers[0])
    assert said == "Lower the learning rate."


def test_words_name_the_rate_and_the_group_if_there_are_several(run_evidence, setup_record):
    assert remedies.raise_learning_rate_in_words(run_evidence(), 1e-3) == (
        "Raise the learning rate to 2."
    )
    groups = (ParameterGroup((0, 1), 0.5), ParameterGroup((2, 3, 4, 5), 0.1))
    several = run_evidence(setup=setup_record(groups=groups), ratios=(0.8, 0.01, 0.01))
    assert remedies.lower_learning_rate_in_words(several, 1.0, several.layers[0]) == (
        "Lower the learning rate of the parameter group of first to 0.05."
    )
    one = run_evidence(setup=setup_record(groups=(ParameterGroup(tuple(range(6)), 0.5),)))
    assert remedies.lower_learning_rate_in_words(one, 1.0, one.layers[0]) == (
        "Lower the learning rate to 0.17."
    )
    unknown = run_evidence()
    assert remedies.lower_learning_rate_in_words(unknown, 1.0, unknown.layers[0]) == (
        "Lower the learning rate to 0.01."
    )


def test_a_rate_of_zero_gets_a_usual_one(run_evidence):
    assert remedies.set_learning_rate(run_evidence()) == "optimizer.lr=0.001"


# Clipping, batches, schedules ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("clip", "override"),
    [
        ("norm 0.5", "clip.max_norm=50"),
        ("per_layer 0.5", "clip.max_norm=50"),
        ("value 0.5", "clip.max_value=1.5e+02"),
        ("agc 0.01", "clip.clip_factor=1"),
        ("none", None),
    ],
)
def test_a_clipping_limit_is_raised_to_ten_times_the_usual_norm(run_evidence, clip, override):
    assert remedies.raise_clip_limit(run_evidence(clip=clip), 0.1) == override


@pytest.mark.parametrize(
    ("size", "factor", "override"),
    [
        *((2, 4.0, "batch_size=8"), (2, 4.1, "batch_size=16"), (1, 2.0, "batch_size=2")),
        *((512, 3.0, "batch_size=1024"), (2, 1.0, None), (2, math.nan, None), (0, 4.0, None)),
    ],
)
def test_a_larger_batch_is_a_power_of_two_up_to_1024(run_evidence, size, factor, override):
    assert remedies.larger_batches(run_evidence(batch_size=size), factor) == override


@pytest.mark.parametrize(
    ("clip", "override"),
    [("none", "clip=norm"), ("", "clip=norm"), ("norm 1.0", "optimizer.lr=0.01")],
)
def test_spikes_are_limited_by_clipping_or_else_by_the_rate(run_evidence, clip, override):
    assert remedies.limit_spikes(run_evidence(clip=clip)) == override


# Settings of the optimizer and of the model -------------------------------------------------


def test_a_gentle_decay_pulls_a_hundredth_as_hard_as_the_gradient(run_evidence):
    # A decay of 0.5 pulls five times as hard as the gradient; of 0.001, a hundredth as hard.
    assert remedies.gentle_decay(0.5, 5.0) == 0.001
    assert remedies.lower_weight_decay(run_evidence(), 0.5, 5.0) == "optimizer.weight_decay=0.001"


@pytest.mark.parametrize(
    ("optimizer", "override"),
    [("sgd", "optimizer.momentum=0.9"), ("adamw", "optimizer.betas=[0.9,0.999]")],
)
def test_momentum_has_another_key_under_adam(run_evidence, optimizer, override):
    assert remedies.usual_momentum(run_evidence(optimizer=optimizer)) == override


def test_dropout_is_lowered_in_models_that_have_it(run_evidence):
    assert remedies.lower_dropout(run_evidence(model="cnn")) == "model.dropout=0.1"
    assert remedies.lower_dropout(run_evidence(model="resnet")) is None


@pytest.mark.parametrize(
    ("info", "override"),
    [
        ({"total_steps": 93}, "epochs=12"),  # 4000 examples are 31 batches of 128, three times
        ({"total_steps": 92}, "epochs=12 max_steps=null"),
        ({"epochs": 0}, None),
        ({"batch_size": 0}, None),
    ],
)
def test_longer_training_is_four_times_the_epochs_and_all_of_their_steps(
    run_evidence, info, override
):
    data = DataInfo("mnist5k", 4000, 500, 500, "", (1, 28, 28), 10)
    found = run_evidence(**{"data": data, "epochs": 3, "batch_size": 128, **info})
    assert remedies.longer_training(found) == override


def test_a_rate_is_proposed_for_each_parameter_group(deep):
    groups = tuple(
        GroupInfo(name, "torch.optim.SGD", {}, rate, ())
        for name, rate in (("a", 0.1), ("b", 0.002))
    )
    alone, grouped = deep(3), deep(3, groups=groups)
    word = remedies.lower_learning_rate(alone, 10.0)
    factor = float(word.partition("=")[2]) / alone.info.learning_rate
    words = remedies.lower_learning_rate(grouped, 10.0).split()
    assert [word.partition("=")[0] for word in words] == [
        *("optimizer.groups.a.lr", "optimizer.groups.b.lr"),
    ]
    proposed = [float(word.partition("=")[2]) for word in words]
    assert proposed == pytest.approx([0.1 * factor, 0.002 * factor], rel=0.05)
    # Which group has the setting that is wrong, an override of the optimizer cannot say.
    assert remedies.usual_epsilon(alone)
    assert remedies.usual_epsilon(grouped) is None
    assert remedies.usual_momentum(grouped) is None
    assert remedies.set_learning_rate(grouped) is None
    assert remedies.lower_weight_decay(grouped, 0.1, 5.0) is None


@pytest.mark.parametrize(
    ("shape", "code", "override"),
    [
        ((1, 28, 28), "", "data.normalize=mean_std"),
        ((12,), "", "data.standardize=true"),
        ((2, 50), "", "data.standardize=true"),
        ((12,), "5eed", None),  # a problem of the user's own, which scales its inputs itself
    ],
)
def test_pixels_are_normalised_and_the_numbers_of_a_file_standardised(
    run_evidence, shape, code, override
):
    found = run_evidence()
    data = replace(found.info.data, shape=shape, file_sha256=code)
    assert remedies.scale_inputs(replace(found, info=replace(found.info, data=data))) == override
