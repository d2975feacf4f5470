"""Gradients through time against a recurrence written out, and the unrolled module itself."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.errors import UserError
from gradcli.probes.hidden_states import HIDDEN_STATES
from gradcli.probes.measuring.slope import LogSlope
from gradcli.probes.measuring.through_time import (
    HiddenStateGradients,
    _unroll,
    hidden_state_gradients,
)


def test_they_are_those_of_a_tanh_recurrence_written_out(make, batch):
    model, (images, labels) = make("rnn", cell="tanh", hidden=7), batch(6)
    w = dict(model.rnn.named_parameters())
    hidden, states = torch.zeros(6, 7), []
    for row in images.squeeze(1).unbind(dim=1):
        hidden = torch.tanh(
            row @ w["weight_ih_l0"].T
            + w["bias_ih_l0"]
            + hidden @ w["weight_hh_l0"].T
            + w["bias_hh_l0"]
        )
        states.append(hidden)
    loss = F.cross_entropy(model.output(model.activation(model.hidden(hidden))), labels)
    expected = [gradient.norm().item() for gradient in torch.autograd.grad(loss, states)]
    (found,) = hidden_state_gradients(model, images, labels)
    assert (found.module, found.layer, found.reverse) == ("rnn", 0, False)
    assert found.hidden.tolist() == pytest.approx(expected, rel=1e-5)
    assert found.cell is None


def test_an_lstms_cell_states_are_measured_too(make, batch):
    model, (images, labels) = make("rnn", cell="lstm", hidden=7), batch(6)
    w = dict(model.rnn.named_parameters())
    hidden = memory = torch.zeros(6, 7)
    memories = []
    for row in images.squeeze(1).unbind(dim=1):
        gates = row @ w["weight_ih_l0"].T + w["bias_ih_l0"] + hidden @ w["weight_hh_l0"].T
        gates = gates + w["bias_hh_l0"]
        enter, forget, new, leave = gates[:, :7], gates[:, 7:14], gates[:, 14:21], gates[:, 21:]
        memory = forget.sigmoid() * memory + enter.sigmoid() * new.tanh()
        hidden = leave.sigmoid() * memory.tanh()
        memories.append(memory)
    loss = F.cross_entropy(model.output(model.activation(model.hidden(hidden))), labels)
    expected = [gradient.norm().item() for gradient in torch.autograd.grad(loss, memories)]
    (found,) = hidden_state_gradients(model, images, labels)
    assert found.cell.tolist() == pytest.approx(expected, rel=1e-5)


SETTINGS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"bias": False, "batch_first": True},
]


# That torch takes its slower implementation for projections does not matter here.
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("kind", ["rnn", "relu", "gru", "lstm", "projected"])
@pytest.mark.parametrize("initial", [False, True])
def test_unrolled_a_module_computes_the_same(kind, settings, initial):
    torch.manual_seed(0)
    classes = {"rnn": nn.RNN, "relu": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM, "projected": nn.LSTM}
    extra = {"relu": {"nonlinearity": "relu"}, "projected": {"proj_size": 3}}.get(kind, {})
    module = classes[kind](4, 5, **settings, **extra)
    sequence = torch.randn(6, 2, 4)  # time and batch, or batch and time
    batch = 6 if settings.get("batch_first") else 2
    states = None
    if initial:
        rows = module.num_layers * (2 if module.bidirectional else 1)
        states = torch.randn(rows, batch, module.proj_size or 5)
        if isinstance(module, nn.LSTM):
            states = (states, torch.randn(rows, batch, 5))
    outputs, last = module(sequence, states)
    traces = []
    own_outputs, own_last = _unroll("rnn", module, sequence, states, traces)
    assert torch.allclose(own_outputs, outputs, atol=1e-6)
    if isinstance(module, nn.LSTM):
        assert torch.allclose(own_last[0], last[0], atol=1e-6)
        assert torch.allclose(own_last[1], last[1], atol=1e-6)
    else:
        assert torch.allclose(own_last, last, atol=1e-6)
    steps = sequence.shape[1 if module.batch_first else 0]
    assert [len(trace.hidden) for trace in traces] == [steps] * len(traces)


def test_a_state_is_an_output_in_the_order_of_the_sequence():
    torch.manual_seed(0)
    module, sequence, traces = nn.GRU(4, 5, bidirectional=True), torch.randn(6, 2, 4), []
    outputs, _ = module(sequence)
    _unroll("rnn", module, sequence, None, traces)
    both = torch.cat([torch.stack(trace.hidden) for trace in traces], dim=-1)
    assert torch.allclose(both, outputs, atol=1e-6)


def test_the_gradient_vanishes_backwards_with_small_recurrent_weights(make, batch):
    model = make("rnn", cell="tanh", hidden=10)
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_(0.1 * torch.eye(10))
    (found,) = hidden_state_gradients(model, *batch(8))
    assert found.slope.decades == pytest.approx(1.0, abs=0.3)  # a tenth at each step back
    assert (found.hidden[1:] > found.hidden[:-1]).all()


def test_frozen_recurrent_layers_have_gradients_through_time(make, batch):
    model = make("rnn", hidden=6, layers=2)
    frozen = make("rnn", hidden=6, layers=2).requires_grad_(False)
    for a, b in zip(
        hidden_state_gradients(model, *batch(4)),
        hidden_state_gradients(frozen, *batch(4)),
        strict=True,
    ):
        assert a.hidden.tolist() == pytest.approx(b.hidden.tolist())


def test_states_that_the_loss_does_not_see_have_no_gradient(batch):
    class FirstOnly(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(8, 5, batch_first=True)

        def forward(self, images):
            return self.rnn(images.squeeze(1))[0][:, 2]

    (found,) = hidden_state_gradients(FirstOnly(), *batch(4))
    assert (found.hidden[:3] > 0).all()
    assert (found.hidden[3:] == 0).all()


def test_other_models_are_refused(make, batch):
    with pytest.raises(UserError, match="none"):
        hidden_state_gradients(make("mlp", hidden=[4]), *batch(4))

    class Unbatched(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(8, 5)

        def forward(self, images):
            return torch.stack([self.rnn(image[0])[0][-1] for image in images])

    model = Unbatched()
    with pytest.raises(UserError, match="unbatched"):
        hidden_state_gradients(model, *batch(2))
    assert model(batch(2)[0]).shape == (2, 5)  # its hooks are gone


# As sentences --------------------------------------------------------------------------


def in_words(count, **changes):
    values = {
        "module": "rnn",
        "layer": 0,
        "reverse": False,
        "hidden": np.array([1e-6, 1e-4, 0.01]),
        "cell": None,
        "slope": LogSlope(2.0, 1.0, 3),
    }
    return HIDDEN_STATES.sentences((HiddenStateGradients(**(values | changes)),) * count, 128)


def test_hidden_states_have_both_ends_in_time():
    assert in_words(1) == [
        "rnn layer 0: 1.00e-06 at time 1, 0.0100 at time 3; log10 slope +2.000 per time step"
    ]
    many = in_words(6, reverse=True)
    assert many[0].startswith("rnn layer 0 backwards")
    assert many[-1] == "and 2 more layers"
