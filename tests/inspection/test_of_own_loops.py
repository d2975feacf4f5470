"""Loops of the user's own, on real digits: what the inspection says about each of them."""

from __future__ import annotations

import shlex

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradcli
from gradcli.data import load_dataset
from gradcli.runs import load_run

HIDDEN, BATCH = 32, 64


@pytest.fixture(scope="module")
def digits():
    """Return 2,048 digits in a mixed order, as pixels from 0 to 255 in rows, and their labels."""
    torch.set_num_threads(1)
    split = load_dataset("mnist5k").train
    order = torch.randperm(len(split.targets), generator=torch.Generator().manual_seed(0))[:2048]
    return split.inputs[order].flatten(1).float(), split.targets[order]


@pytest.fixture(scope="module")
def scaled(digits):
    """The digits with mean 0 and deviation 1."""
    pixels, labels = digits
    return (pixels / 255 - 0.1307) / 0.3081, labels


@pytest.fixture
def look(tmp_path, inspect):
    """Return a function that trains by a loop of the user's own and inspects the run."""

    def look_at(model, optimizer, data, *, steps=90, loss_of=F.cross_entropy, clear=True):
        inputs, labels = data
        with gradcli.GradientMonitor(model, optimizer, runs_dir=tmp_path, every=10) as monitor:
            for step in range(steps):
                at = slice(step * BATCH % len(labels), step * BATCH % len(labels) + BATCH)
                loss = loss_of(model(inputs[at]), labels[at])
                if clear:
                    optimizer.zero_grad()
                loss.backward()
                monitor.step(loss)
                optimizer.step()
        return inspect(target=monitor.run)

    return look_at


def net(*, layers=3, activation=nn.ReLU, norm=None, seed=0):
    """Return a stack of linear layers, `layers` of them hidden."""
    torch.manual_seed(seed)
    modules, width = [], 784
    for _ in range(layers):
        modules += [nn.Linear(width, HIDDEN)] + ([norm(HIDDEN)] if norm else []) + [activation()]
        width = HIDDEN
    return nn.Sequential(*modules, nn.Linear(width, 10))


def codes(inspection):
    return [finding.code for finding in inspection.findings]


def adam(parameters, rate=1e-3):
    return torch.optim.Adam(parameters, lr=rate)


def test_a_plain_loop_is_healthy(look, scaled):
    model = net()
    assert codes(look(model, adam(model.parameters()), scaled)) == ["healthy"]


# Updates that never happen, and gradients that stay ------------------------------------------


@pytest.mark.parametrize("place", [0, 2, 6])
def test_a_layer_that_was_replaced_after_the_optimizer_was_made(look, scaled, place):
    model = net()
    optimizer = adam(model.parameters())
    model[place] = nn.Linear(model[place].in_features, model[place].out_features)
    found = look(model, optimizer, scaled)
    assert [(one.code, one.layer) for one in found.findings] == [("not-updated", str(place))]
    assert "does not hold" in found.findings[0].message
    assert "Pass the parameters" in found.findings[0].mend


def test_rates_of_zero(look, scaled):
    model = net()
    groups = [{"params": model[:2].parameters()}, {"params": model[2:].parameters(), "lr": 0.0}]
    found = look(model, torch.optim.SGD(groups, lr=0.1), scaled).findings[0]
    assert (found.code, found.layer) == ("not-updated", "2")
    assert "parameter group is 0" in found.message
    model = net()
    still = look(model, adam(model.parameters(), 0.0), scaled)
    assert [(one.code, one.layer) for one in still.findings] == [("not-updated", None)]
    assert "the weights move" not in still.findings[0].message


@pytest.mark.parametrize(("make", "rate"), [(torch.optim.SGD, 0.1), (torch.optim.Adam, 1e-3)])
def test_gradients_that_are_never_cleared(look, scaled, make, rate):
    for clear in (True, False):
        model = net()
        found = look(model, make(model.parameters(), lr=rate), scaled, clear=clear)
        assert found.verdict == ("healthy" if clear else "not-cleared")


def test_gradients_that_are_cleared_now_and_then(look, scaled):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    calls = iter(range(10_000))

    def loss_of(*given):
        if next(calls) % 10 == 0:
            optimizer.zero_grad()
        return F.cross_entropy(*given)

    found = look(model, optimizer, scaled, loss_of=loss_of, clear=False)
    assert found.verdict == "not-cleared"
    assert "not always cleared" in found.findings[0].message


def test_norm_layers_that_the_optimizer_does_not_hold(look, scaled):
    model = net(norm=nn.BatchNorm1d)
    linear = [p for module in model if isinstance(module, nn.Linear) for p in module.parameters()]
    found = look(model, torch.optim.SGD(linear, lr=0.1), scaled).findings
    assert [(one.code, one.layer) for one in found] == [("not-updated", "1")]
    assert "3 layers, 1 to 7" in found[0].message


@pytest.mark.parametrize("layer", [None, "2"])
def test_gradients_that_are_cleared_before_the_update(scaled, tmp_path, inspect, layer):
    inputs, labels = scaled
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with gradcli.GradientMonitor(model, optimizer, runs_dir=tmp_path, every=10) as monitor:
        for step in range(30):
            at = slice(step * BATCH, step * BATCH + BATCH)
            loss = F.cross_entropy(model(inputs[at]), labels[at])
            loss.backward()
            monitor.step(loss)
            (model if layer is None else model[int(layer)]).zero_grad()
            optimizer.step()
            optimizer.zero_grad()
    (found,) = inspect(target=monitor.run).findings
    assert (found.code, found.layer) == ("not-updated", layer)
    assert "does not hold" not in found.message
    assert "between" in found.mend


def test_an_update_that_is_never_made(scaled, tmp_path, gradcli):
    import gradcli as package

    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with (
        pytest.warns(RuntimeWarning, match=r"called 5 times, but optimizer\.step\(\)"),
        package.GradientMonitor(model, optimizer, runs_dir=tmp_path) as monitor,
    ):
        for _ in range(5):
            loss = F.cross_entropy(model(scaled[0][:BATCH]), scaled[1][:BATCH])
            optimizer.zero_grad()
            loss.backward()
            monitor.step(loss)
    shown = gradcli("inspect-gradients", str(monitor.run))
    assert "when optimizer.step() follows monitor.step(loss)" in " ".join(shown.out.split())
    assert "nothing to report" not in gradcli("runs", "show", str(monitor.run)).out


# Depth is the order in which layers are called -----------------------------------------------


class Called(nn.Module):
    """Sigmoid layers that are called in another order than they are registered in."""

    def __init__(self, order: list[str]):
        super().__init__()
        torch.manual_seed(0)
        sizes = {"stem": (784, HIDDEN), "head": (HIDDEN, 10)}
        for name in order:
            self.add_module(name, nn.Linear(*sizes.get(name, (HIDDEN, HIDDEN))))

    def forward(self, inputs):
        signal = torch.sigmoid(self.stem(inputs))
        for place in range(10):
            signal = torch.sigmoid(getattr(self, f"body{place}")(signal))
        return self.head(signal)


@pytest.mark.parametrize("kind", ["as called", "head first", "in reverse"])
def test_the_order_of_registration_does_not_matter(look, scaled, kind):
    called = ["stem", *(f"body{place}" for place in range(10)), "head"]
    order = {
        "as called": called,
        "head first": [called[-1], *called[:-1]],
        "in reverse": called[::-1],
    }
    model = Called(order[kind])
    found = look(model, adam(model.parameters()), scaled, steps=60)
    # The stem reads 784 pixels, so that its gradient is larger than that of the layer behind it.
    assert [(one.code, one.layer) for one in found.findings] == [("vanishing", "body0")]


# Intention is not a fault --------------------------------------------------------------------


class Adapted(nn.Module):
    """A frozen layer and two thin matrices beside it, of which the second begins at zero."""

    def __init__(self, base: nn.Linear, rank: int = 3):
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, inputs):
        return self.base(inputs) + self.up(self.down(inputs))


def test_adapters_on_a_frozen_base_are_healthy(look, scaled):
    model = nn.Sequential(*(Adapted(m) if isinstance(m, nn.Linear) else m for m in net()))
    optimizer = adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    found = look(model, optimizer, scaled)
    assert codes(found) == ["frozen", "healthy"]
    assert {finding.severity for finding in found.findings} == {"info"}


def test_frozen_layers_hide_no_fault(look, scaled):
    inputs, labels = scaled
    mixed = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))]
    for data, verdict in (((inputs, labels), "healthy"), ((inputs, mixed), "labels")):
        model = net()
        model[:4].requires_grad_(False)
        found = look(model, adam(model[4:].parameters(), 3e-3), data, steps=150)
        assert found.verdict == verdict
        assert codes(found).count("frozen") == 1


class Pair(nn.Module):
    """A generator and a discriminator in one module."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.maker, self.judge = nn.Linear(8, 784), nn.Linear(784, 1)


def test_two_optimizers_of_one_module_blame_nobody(scaled, tmp_path, inspect):
    model, inputs = Pair(), scaled[0]
    of_maker, of_judge = adam(model.maker.parameters()), adam(model.judge.parameters())
    with (
        gradcli.GradientMonitor(model, of_maker, name="maker", runs_dir=tmp_path) as first,
        gradcli.GradientMonitor(model, of_judge, name="judge", runs_dir=tmp_path) as second,
    ):
        for step in range(30):
            real = inputs[step * BATCH : (step + 1) * BATCH]
            made = torch.tanh(model.maker(torch.randn(BATCH, 8)))
            model.zero_grad()
            loss = F.softplus(-model.judge(real)).mean()
            loss = loss + F.softplus(model.judge(made.detach())).mean()
            loss.backward()
            second.step(loss)
            of_judge.step()
            model.zero_grad()
            loss = F.softplus(-model.judge(made)).mean()
            loss.backward()
            first.step(loss)
            of_maker.step()
    for monitor in (first, second):
        found = inspect(target=monitor.run)
        assert {finding.severity for finding in found.findings} == {"info"}
        assert "no-gradient" not in codes(found)


# Yardsticks ----------------------------------------------------------------------------------


class Words(nn.Module):
    """Each digit as the row numbers of its dark pixels: of a large table few rows are used."""

    def __init__(self, rows: int):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(rows, HIDDEN)
        self.body = nn.Linear(HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN, 10)

    def forward(self, places):
        return self.head(torch.relu(self.body(self.table(places).mean(1))))


@pytest.mark.parametrize("rows", [784, 20_000])
def test_a_table_is_judged_by_the_rows_that_are_used(look, digits, rows):
    pixels, labels = digits
    places = pixels.topk(60, dim=1).indices
    model = Words(rows)
    assert codes(look(model, adam(model.parameters(), 5e-3), (places, labels))) == ["healthy"]


class Scaled(nn.Module):
    """A residual block whose branch begins at a ten-thousandth of a percent."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((HIDDEN,), 1e-6))
        self.inner, self.outer = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)

    def forward(self, inputs):
        return inputs + self.scale * self.outer(F.gelu(self.inner(inputs)))


def test_branches_that_begin_near_zero_are_healthy(look, scaled):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, HIDDEN), Scaled(), Scaled(), nn.Linear(HIDDEN, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    assert codes(look(model, optimizer, scaled)) == ["healthy"]


# Dead and collapsed nets ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_raw_pixels_that_kill_a_net(look, digits, seed):
    model = net(seed=seed)
    found = look(model, torch.optim.SGD(model.parameters(), lr=0.05), digits, steps=120)
    assert found.verdict in ("unscaled-inputs", "non-finite", "lr-too-high")
    assert codes(found)[0] == "unscaled-inputs"
    texts = " ".join(finding.message for finding in found.findings)
    assert "reach every" not in texts
    assert "healthy" not in codes(found)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_rate_that_collapses_a_net_is_named_with_its_step(look, scaled, seed):
    model = net(norm=nn.LayerNorm, seed=seed)
    found = look(model, adam(model.parameters(), 0.3), scaled, steps=120)
    cause = found.findings[0]
    assert cause.code == "lr-too-high"
    assert "at step 1 " in cause.message
    ratio = max(load_run(found.target).layer_records[0].update_ratio)
    assert ratio > 10 and f"by {ratio:.1f} times their norm" in cause.message
    assert not {"healthy", "plateau"} & set(codes(found))


# Any loss, and advice that can be followed ---------------------------------------------------


def test_a_loss_that_begins_at_zero(look, scaled, gradcli):
    """A student that begins as a copy of what it is compared with."""
    model = net(layers=1)
    with torch.no_grad():
        inputs = scaled[0]
        reference = model(inputs).log_softmax(1)
    calls = iter(range(10_000))

    def loss_of(outputs, labels):
        step = next(calls)
        at = slice(step * BATCH % len(inputs), step * BATCH % len(inputs) + BATCH)
        own = outputs.log_softmax(1)
        apart = F.kl_div(own, reference[at], log_target=True, reduction="batchmean")
        return apart + (0.1 if step else 0.0) * F.nll_loss(own, labels)

    found = look(model, torch.optim.SGD(model.parameters(), lr=0.1), scaled, loss_of=loss_of)
    assert load_run(found.target).steps.loss[0] == pytest.approx(0, abs=1e-6)
    assert not {"spike", "lr-too-high", "non-finite"} & set(codes(found))
    for words in (["runs", "show", found.target], ["inspect-gradients", found.target]):
        assert gradcli(*words).code == 0


@pytest.mark.parametrize(("sign", "offset"), [(-1, 0.0), (1, -50.0), (-1, 50.0)])
def test_losses_below_zero_and_losses_that_rise(look, scaled, sign, offset):
    """Gradients, and thus the verdict, do not change with a constant in the loss."""
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, maximize=sign < 0)
    found = look(
        model, optimizer, scaled, loss_of=lambda *given: sign * F.cross_entropy(*given) + offset
    )
    assert {finding.severity for finding in found.findings} == {"info"}
    assert found.verdict == "healthy"
    # Of a loss that rises for good, it is said that it does not fall, and that it may be meant to.
    texts = [one.message for one in found.findings if one.code == "plateau"]
    assert len(texts) == (sign < 0 < offset)
    assert all("rise by design" in text for text in texts)


def test_every_command_that_is_proposed_works(look, scaled, gradcli):
    model = net(layers=1)
    found = look(model, adam(model.parameters()), scaled, steps=20)
    shown = gradcli("inspect-gradients", found.target)
    assert shown.code == 0
    lines = shown.out.splitlines()
    (place,) = [at for at, line in enumerate(lines) if line.startswith("next")]
    command = shlex.split(" ".join(line.strip() for line in lines[place:])[len("next") :])
    assert command[0] == "gradcli"
    assert gradcli(*command[1:]).code == 0
    assert "--probe" not in " ".join(shown.out.split())
    assert gradcli("inspect-gradients", found.target, "--probe", "all").code == 2
