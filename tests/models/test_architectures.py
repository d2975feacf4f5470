"""What each network is made of, and what it does to a batch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.errors import UserError
from gradcli.models import CNN, MLP, RNN, LogisticRegression

SHAPE = (1, 28, 28)
MODELS = {
    "mlp": lambda activation: MLP(input_shape=SHAPE, classes=10, activation=activation),
    "cnn": lambda activation: CNN(input_shape=SHAPE, classes=10, activation=activation),
    "rnn": lambda activation: RNN(input_shape=SHAPE, classes=10, activation=activation),
    "logreg": lambda activation: LogisticRegression(input_shape=SHAPE, classes=10),
}


def images(batch=4, shape=SHAPE, seed=0):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(seed))


def layers(model):
    """The modules that own parameters directly, in order."""
    return [name for name, m in model.named_modules() if list(m.parameters(recurse=False))]


@pytest.mark.parametrize("name", MODELS)
def test_the_examples_of_a_batch_do_not_touch_each_other(name):
    model = MODELS[name](nn.ReLU).eval()
    batch = images()
    logits = model(batch)
    assert logits.shape == (4, 10)
    for example, row in zip(batch, logits, strict=True):
        torch.testing.assert_close(model(example.unsqueeze(0)).squeeze(0), row)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_receives_a_gradient(name):
    model = MODELS[name](nn.Tanh)
    F.cross_entropy(model(images()), torch.tensor([0, 1, 2, 3])).backward()
    assert all(p.grad is not None and p.grad.norm() > 0 for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_each_place_has_its_own_activation(name):
    made = []

    def activation():
        made.append(nn.Tanh())
        return made[-1]

    model = MODELS[name](activation)
    assert [m for m in model.modules() if isinstance(m, nn.Tanh)] == made


def test_layer_names_and_parameter_counts():
    mlp = MLP(input_shape=SHAPE, classes=10, activation=nn.ReLU)
    assert layers(mlp) == ["hidden1", "hidden2", "output"]
    assert sum(p.numel() for p in mlp.parameters()) == 785 * 256 + 257 * 128 + 129 * 10
    normed = MLP(input_shape=SHAPE, classes=10, activation=nn.ReLU, hidden=[8, 8], norm="batch")
    assert layers(normed) == ["hidden1", "norm1", "hidden2", "norm2", "output"]
    cnn = CNN(input_shape=SHAPE, classes=10, activation=nn.ReLU, channels=[4, 8], hidden=16)
    assert layers(cnn) == ["conv1", "conv2", "hidden", "output"]
    convolutions = (25 * 1 + 1) * 4 + (25 * 4 + 1) * 8
    dense = (7 * 7 * 8 + 1) * 16 + (16 + 1) * 10
    assert sum(p.numel() for p in cnn.parameters()) == convolutions + dense
    rnn = RNN(input_shape=SHAPE, classes=10, activation=nn.ReLU)
    assert layers(rnn) == ["rnn", "hidden", "output"]
    assert layers(LogisticRegression(input_shape=SHAPE, classes=10)) == ["output"]


def test_mlp_computes_its_formula():
    mlp = MLP(input_shape=(1, 2, 3), classes=3, activation=nn.Tanh, hidden=[5, 5, 4], residual=True)
    batch = images(shape=(1, 2, 3))
    first = torch.tanh(batch.flatten(1) @ mlp.hidden1.weight.T + mlp.hidden1.bias)
    second = first + torch.tanh(first @ mlp.hidden2.weight.T + mlp.hidden2.bias)
    third = torch.tanh(second @ mlp.hidden3.weight.T + mlp.hidden3.bias)
    expected = third @ mlp.output.weight.T + mlp.output.bias
    torch.testing.assert_close(mlp(batch), expected)


@pytest.mark.parametrize(("norm", "axis"), [("batch", 0), ("layer", 1)])
def test_norm_acts_between_the_linear_map_and_the_activation(norm, axis):
    mlp = MLP(input_shape=SHAPE, classes=10, activation=nn.ReLU, hidden=[32], norm=norm)
    seen = []
    mlp.activation1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mlp(images(64))
    mean, variance = seen[0].mean(axis), seen[0].var(axis, correction=0)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
    torch.testing.assert_close(variance, torch.ones_like(variance), atol=1e-2, rtol=0)


def test_no_hidden_layer_is_logistic_regression():
    mlp = MLP(input_shape=SHAPE, classes=10, activation=nn.ReLU, hidden=[])
    logreg = LogisticRegression(input_shape=SHAPE, classes=10)
    logreg.load_state_dict(mlp.state_dict())
    assert torch.equal(mlp(images()), logreg(images()))


@pytest.mark.parametrize("name", ["mlp", "cnn", "rnn"])
def test_dropout_acts_in_training_only(name):
    model = {"mlp": MLP, "cnn": CNN, "rnn": RNN}[name](
        input_shape=SHAPE, classes=10, activation=nn.ReLU, dropout=0.5
    )
    batch = images()
    assert not torch.equal(model(batch), model(batch))
    model.eval()
    assert torch.equal(model(batch), model(batch))


def test_cnn_computes_its_formula():
    cnn = CNN(input_shape=(2, 9, 8), classes=3, activation=nn.ELU, channels=[4], kernel_size=3)
    batch = images(shape=(2, 9, 8))
    signal = F.elu(F.conv2d(batch, cnn.conv1.weight, cnn.conv1.bias, padding=1))
    signal = F.max_pool2d(signal, 2).flatten(1)
    signal = F.elu(F.linear(signal, cnn.hidden.weight, cnn.hidden.bias))
    expected = F.linear(signal, cnn.output.weight, cnn.output.bias)
    torch.testing.assert_close(cnn(batch), expected)


def test_cnn_computes_its_formula_of_signals():
    cnn = CNN(input_shape=(2, 9), classes=3, activation=nn.ELU, channels=[4], kernel_size=3)
    batch = images(shape=(2, 9))
    signal = F.elu(F.conv1d(batch, cnn.conv1.weight, cnn.conv1.bias, padding=1))
    signal = F.elu(F.linear(F.max_pool1d(signal, 2).flatten(1), cnn.hidden.weight, cnn.hidden.bias))
    expected = F.linear(signal, cnn.output.weight, cnn.output.bias)
    torch.testing.assert_close(cnn(batch), expected)


def test_rnn_reads_a_signal_as_an_image_of_width_one():
    of_signals = RNN(input_shape=(2, 5), classes=4, activation=nn.SiLU, hidden=6)
    of_images = RNN(input_shape=(2, 5, 1), classes=4, activation=nn.SiLU, hidden=6)
    of_images.load_state_dict(of_signals.state_dict())
    batch = images(shape=(2, 5))
    torch.testing.assert_close(of_signals(batch), of_images(batch.unsqueeze(3)))


@pytest.mark.parametrize(("cell", "nonlinearity"), [("tanh", torch.tanh), ("relu", torch.relu)])
def test_rnn_reads_rows_from_top_to_bottom(cell, nonlinearity):
    rnn = RNN(input_shape=(2, 5, 3), classes=4, activation=nn.SiLU, cell=cell, hidden=6)
    batch = images(shape=(2, 5, 3))
    recurrent = rnn.rnn
    state = torch.zeros(4, 6)
    for row in range(5):
        seen = batch[:, :, row].flatten(1)
        state = nonlinearity(
            seen @ recurrent.weight_ih_l0.T
            + recurrent.bias_ih_l0
            + state @ recurrent.weight_hh_l0.T
            + recurrent.bias_hh_l0
        )
    signal = F.silu(F.linear(state, rnn.hidden.weight, rnn.hidden.bias))
    expected = F.linear(signal, rnn.output.weight, rnn.output.bias)
    torch.testing.assert_close(rnn(batch), expected)


@pytest.mark.parametrize(("cell", "kind"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_gated_cells_in_layers(cell, kind):
    rnn = RNN(input_shape=SHAPE, classes=10, activation=nn.ReLU, cell=cell, layers=2, dropout=0.1)
    assert isinstance(rnn.rnn, kind)
    assert rnn.rnn.num_layers == 2
    assert rnn.rnn.dropout == 0.1


@pytest.mark.parametrize(
    ("model", "wrong", "where"),
    [
        (MLP, {"hidden": [64, 0]}, "model.hidden"),
        (MLP, {"hidden": [256, 128], "residual": True}, "model.residual"),
        (MLP, {"hidden": [], "residual": True}, "model.residual"),
        (MLP, {"norm": "batchnorm"}, "model.norm"),
        (MLP, {"dropout": 1.0}, "model.dropout"),
        (CNN, {"channels": [8, -1]}, "model.channels"),
        (CNN, {"channels": [8] * 5}, "model.channels"),
        (CNN, {"kernel_size": 4}, "model.kernel_size"),
        (CNN, {"hidden": 0}, "model.hidden"),
        (RNN, {"cell": "ltsm"}, "model.cell"),
        (RNN, {"hidden": -1}, "model.hidden"),
        (RNN, {"layers": 0}, "model.layers"),
        (RNN, {"dropout": -0.1}, "model.dropout"),
    ],
)
def test_what_cannot_be_built_names_its_key(model, wrong, where):
    with pytest.raises(UserError) as caught:
        model(input_shape=SHAPE, classes=10, activation=nn.ReLU, **wrong)
    assert caught.value.where == where


def test_a_misspelt_cell_is_answered_with_the_nearest():
    with pytest.raises(UserError) as caught:
        RNN(input_shape=SHAPE, classes=10, activation=nn.ReLU, cell="ltsm")
    assert caught.value.choices == ("lstm",)


def test_the_smallest_image_of_a_cnn():
    CNN(input_shape=(1, 4, 4), classes=2, activation=nn.ReLU, channels=[2, 2])
    with pytest.raises(UserError, match="at least 4 x 4 pixels, not 3 x 4"):
        CNN(input_shape=(1, 3, 4), classes=2, activation=nn.ReLU, channels=[2, 2])
    with pytest.raises(UserError, match="at least 4 positions, not 3"):
        CNN(input_shape=(1, 3), classes=2, activation=nn.ReLU, channels=[2, 2])
