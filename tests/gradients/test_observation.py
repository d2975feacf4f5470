"""What is observed at which update, and what is put into its records."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.gradients.layers import find_layers
from gradcli.gradients.observation import _SELDOM, _SETTLED, Observation
from gradcli.records import FingerprintRecord, LayerRecord, SetupRecord


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


def observation_of(model, *, every=1, optimizer=None, **options):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    return Observation(model, find_layers(model), optimizer, every=every, **options)


def kinds_at(update, every):
    """Which records an update gets; each that is observed gets its fingerprints, last."""
    observation = observation_of(net(), every=every).at(update)
    if observation is None:
        return []
    with observation:
        observation.hand_over(0.0)
        observation.before_update()
    *kinds, last = [type(record) for record in observation.records(update)]
    assert last is FingerprintRecord
    return kinds


BOTH = [SetupRecord, LayerRecord]


@pytest.mark.parametrize(
    ("update", "every", "expected"),
    [
        (1, 0, [SetupRecord]),
        (3, 0, [SetupRecord]),
        (4, 0, []),
        (5, 0, []),
        (1, 50, BOTH),
        (2, 50, BOTH),
        (3, 50, BOTH),
        (4, 50, []),
        (5, 50, BOTH),
        (51, 50, BOTH),
        (52, 50, []),
        (_SETTLED, 1, BOTH),
        (_SETTLED + 2, 1, [LayerRecord]),
        (2 * _SELDOM + 1, 1, BOTH),
        (3 * _SELDOM + 1, 1, BOTH),
        (3 * _SELDOM, 1, [LayerRecord]),
        (3 * _SELDOM + 2, 1, [LayerRecord]),
        # Not seldomer than so many updates, at one at which layers are measured.
        (1 + 3 * (_SELDOM + 50), _SELDOM - 50, []),
        (1 + 4 * (_SELDOM - 50), _SELDOM - 50, BOTH),
        (1 + 5 * (_SELDOM - 50), _SELDOM - 50, [LayerRecord]),
        (1 + 3 * (_SELDOM + 50), _SELDOM + 50, BOTH),
    ],
)
def test_which_updates_get_which_records(update, every, expected):
    assert kinds_at(update, every) == expected


def step(observation, model, *, update=1, scale=1.0, inputs=None):
    """An observed step of a careful loop, and what it gives before its fingerprints."""
    due = observation.at(update)
    optimizer = observation._optimizer
    with due:
        outputs = model(torch.ones(4, 4) if inputs is None else inputs)
        loss = scale * outputs.square().mean()
        optimizer.zero_grad()
        loss.backward()
        due.hand_over(loss)
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad /= scale
    due.before_update()
    optimizer.step()
    return due.records(update, scale)[:-1]


@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_records_are_of_the_update_and_as_if_the_loss_were_not_scaled(scale):
    model = net()
    inputs = torch.randn(4, 4)
    hidden = torch.tanh(model[0](inputs)).detach().requires_grad_()
    output = model[2](hidden)
    output.retain_grad()
    output.square().mean().backward()
    setup, layers = step(observation_of(model), model, update=5, scale=scale, inputs=inputs)
    assert (setup.step, layers.step) == (4, 5)
    assert setup.output_grad_norm == pytest.approx(output.grad.norm().item() * math.sqrt(4))
    assert layers.input_grad_norm[1] == pytest.approx(hidden.grad.norm().item())


def test_biases_that_are_zero_at_the_start_are_left_out_of_the_ratio():
    model = net()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.bias.zero_()
    weights = [layer.weight.detach().clone() for layer in (model[0], model[2])]
    _, layers = step(observation_of(model), model)
    expected = [
        ((new.weight - old).norm() / old.norm()).item()
        for new, old in zip((model[0], model[2]), weights, strict=True)
    ]
    assert layers.update_ratio == pytest.approx(expected, rel=1e-4)


def hooks_inside(model):
    return sum(
        len(module._forward_pre_hooks) + len(module._forward_hooks)
        for name, module in model.named_modules()
        if name
    )


def test_it_is_attached_within_its_context_only():
    model = net()
    observation = observation_of(model)
    assert not observation.is_attached
    with observation.at(1) as entered:
        assert entered is observation
        assert observation.is_attached
        assert hooks_inside(model)
    assert not observation.is_attached
    assert not hooks_inside(model)
    assert not model._forward_pre_hooks
    assert all(parameter._backward_hooks is None for parameter in model.parameters())
    observation.detach()


@pytest.mark.parametrize("inside", [True, False])
def test_modules_inside_are_hooked_if_they_may_be(inside):
    model = net()
    observation = observation_of(model, inside=inside)
    with observation.at(1):
        assert bool(hooks_inside(model)) is inside
    setup, layers = step(observation, model)
    assert setup.outputs.shape == (4, 2)
    assert setup.call_order == observation.call_order == ((0, 1) if inside else ())
    assert math.isnan(layers.input_grad_norm[1]) is not inside
    assert layers.update_ratio[0] > 0


def test_updates_of_the_set_up_alone_leave_the_layers_alone():
    model = net()
    observation = observation_of(model, every=0)
    (record,) = step(observation, model)
    assert record.call_order == (0, 1)
    with observation.at(2):
        only_of_the_setup = hooks_inside(model)
    with observation_of(model).at(2):
        assert hooks_inside(model) == only_of_the_setup + 2  # one for each layer


def test_what_the_loop_calls_may_be_a_wrapper():
    class Wrapper(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, inputs):
            return self.inner(inputs)[:, :1]

    model = net()
    wrapper = Wrapper(model)
    observation = observation_of(model, called=wrapper)
    due = observation.at(1)
    with due:
        loss = wrapper(torch.ones(4, 4)).mean()
        loss.backward()
        due.hand_over(loss)
    due.before_update()
    record, *_ = due.records(1)
    assert record.outputs.shape == (4, 1)
    assert record.output_grad_norm == pytest.approx(1.0)  # four of 1/4, times the root of 4


def test_gradients_kept_are_told_from_those_of_layers_that_the_optimizer_does_not_hold():
    model = net()
    optimizer = torch.optim.SGD(model[2].parameters(), lr=0.1)
    observation = observation_of(model, optimizer=optimizer)
    found = [step(observation, model, update=update)[0] for update in (1, 2, 3)]
    # The optimizer clears what it holds, and nobody clears the first layer.
    assert [record.kept_elsewhere for record in found] == [(), (0,), (0,)]
    assert [record.updates_watched for record in found] == [0, 1, 2]
    assert found[-1].not_cleared == 0


def test_a_layer_of_which_the_optimizer_holds_a_part_is_its_own():
    model = net()
    optimizer = torch.optim.SGD([model[0].weight, *model[2].parameters()], lr=0.1)
    observation = observation_of(model, optimizer=optimizer)
    found = [step(observation, model, update=update)[0] for update in (1, 2)]
    assert found[-1].kept_elsewhere == ()


def test_an_optimizer_without_groups_holds_nothing():
    model = net()
    observation = observation_of(model, optimizer=object())
    due = observation.at(1)
    with due:
        loss = F.mse_loss(model(torch.ones(4, 4)), torch.ones(4, 2))
        loss.backward()
        due.hand_over(loss)
    due.before_update()
    assert due.records(1)[0].groups == ()


def test_nothing_is_observed_before_an_update_is_known():
    model = net()
    observation = observation_of(model)
    with observation:
        assert not hooks_inside(model)
    assert observation.records(1) == []


def test_counters_carry_over():
    model = net()
    first, second = observation_of(model), observation_of(model)
    for update in (1, 2, 3):
        model[0].weight.grad = None
        step(first, model, update=update)
    state = first.state_dict()
    assert state == {"updates_watched": 2, "not_cleared": 0}
    second.load_state_dict(state)
    assert second.state_dict() == state
    assert step(second, model, update=5)[0].updates_watched == 3
