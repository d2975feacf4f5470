"""The gradients of a batch: in several passes, scaled, compiled, and for an optimizer that asks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradcli.config import compose_train
from gradcli.data import Dataset, epoch_order, load_dataset
from gradcli.fast import gate
from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Gradients
from gradcli.objectives import objective_named
from gradcli.records import FaultRecord, LayerRecord, SetupRecord, StepRecords
from gradcli.training import PassPlan
from gradcli.training.clock import PhaseClock
from gradcli.training.differentiation import Differentiation
from gradcli.workflows.building import build_trainer


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """A part of the bundled sample of which no batch size here is a divisor."""
    whole = load_dataset("mnist5k")
    return Dataset(
        whole.info, whole.train[:1000], whole.val[:200], whole.test[:200], whole.mean, whole.std
    )


def trained(dataset, *overrides, steps=None):
    """A trainer after some steps, or at the end of its run, and its records."""
    trainer = build_trainer(compose_train(["data=mnist5k", *overrides]), dataset)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        records = list(trainer.run(steps))
    return trainer, records


def column(records, name) -> np.ndarray:
    return np.concatenate([getattr(r, name) for r in records if isinstance(r, StepRecords)])


def weights(trainer) -> torch.Tensor:
    return nn.utils.parameters_to_vector(trainer.model.parameters()).detach()


# --- Several passes ----------------------------------------------------------------------------


def token_batch():
    """Sequences of which most targets do not count, and those of the third pass not at all."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(10, 6, 5, dtype=torch.float64, generator=generator)
    targets = torch.randint(7, (10, 6), generator=generator)
    targets[torch.rand(10, 6, generator=generator) < 0.6] = -100
    targets[6:9] = -100
    targets[9, 0] = 3
    return inputs, targets


def batch_for(name):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(10, 5, dtype=torch.float64, generator=generator)
    if name in ("cross_entropy", "nll"):
        targets = torch.randint(7, (10,), generator=generator)
        targets[[0, 4, 5]] = -100
        return inputs, targets
    return inputs, torch.rand(10, 7, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", ["cross_entropy", "nll", "mse", "l1", "bce_with_logits"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_gradients_of_several_passes_are_those_of_one_large_batch(name, size):
    check_against_one_batch(name, size, *batch_for(name))


@pytest.mark.parametrize("size", [2, 3])
def test_a_pass_counts_by_the_targets_that_count(size):
    check_against_one_batch("next_token", size, *token_batch())


def check_against_one_batch(name, size, inputs, targets):
    """In float64, against autograd on all examples at once."""
    objective = objective_named(name)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 7)).double()
    if name == "nll":
        model.append(nn.LogSoftmax(1))
    whole = {
        "cross_entropy": lambda y: F.cross_entropy(y, targets),
        "nll": lambda y: F.nll_loss(y, targets),
        "mse": lambda y: F.mse_loss(y, targets),
        "l1": lambda y: F.l1_loss(y, targets),
        "bce_with_logits": lambda y: F.binary_cross_entropy_with_logits(y, targets),
        "next_token": lambda y: F.cross_entropy(y.transpose(1, 2), targets),
    }[name](model(inputs))
    expected = torch.autograd.grad(whole, list(model.parameters()))
    optimizer = torch.optim.SGD(model.parameters())
    gradients = Gradients(model, find_layers(model))
    clock = PhaseClock(torch.device("cpu"))
    plan = PassPlan(micro_batch_size=size)
    loss = Differentiation(model, objective, optimizer, gradients, clock, plan)(
        inputs, targets, None
    )
    assert loss.item() == pytest.approx(whole.item(), rel=1e-12)
    for parameter, one in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, one, rtol=1e-12, atol=1e-14)


def test_an_accumulated_run_is_that_of_large_batches(dataset):
    """To rounding: 1,000 examples make updates of 128 and a last one of 104, in passes of 32."""
    words = ["epochs=2", "optimizer=sgd", "optimizer.lr=0.1", "clip.max_norm=1.0"]
    whole, expected = trained(dataset, *words, "batch_size=128")
    parts, records = trained(dataset, *words, "batch_size=32", "accumulate=4")
    assert parts.step == whole.step == 16
    for name in ("loss", "parameter_grad_norm_before_clip", "parameter_grad_norm_after_clip"):
        np.testing.assert_allclose(column(records, name), column(expected, name), rtol=2e-4)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-3, atol=1e-5)
    observed = [one for one in records if isinstance(one, LayerRecord)]
    of_whole = [one for one in expected if isinstance(one, LayerRecord)]
    for one, other in zip(observed, of_whole, strict=True):
        np.testing.assert_allclose(one.update_ratio, other.update_ratio, rtol=1e-3)
        np.testing.assert_allclose(one.input_grad_norm, other.input_grad_norm, rtol=1e-3)


def test_what_is_observed_of_accumulated_steps_is_no_fault_of_theirs(dataset):
    _, records = trained(dataset, "max_steps=3", "batch_size=32", "accumulate=4")
    setups = [one for one in records if isinstance(one, SetupRecord)]
    assert len(setups) == 3
    for setup in setups:
        assert setup.not_cleared == 0
        assert setup.inputs.shape[0] == 32
        assert setup.loss_path[0].startswith("NllLoss")


def test_a_fault_names_the_pass_in_which_it_arose(dataset):
    words = ["max_steps=1", "batch_size=32", "accumulate=4", "model=logreg"]
    poisoned = Dataset(
        dataset.info, dataset.train, dataset.val, dataset.test, dataset.mean, dataset.std
    )
    trainer = build_trainer(compose_train(["data=mnist5k", *words]), poisoned)
    train = trainer.splits["train"]
    gather = train.gather

    def with_infinity(indices):
        inputs, targets = gather(indices)
        inputs[2 * 32 + 5] = math.inf  # an example of the third pass
        return inputs, targets

    train.gather = with_infinity
    fault = next(one for one in trainer.run() if isinstance(one, FaultRecord))
    assert (fault.phase, fault.forward_pass, fault.forward_passes) == ("inputs", 3, 4)
    assert trainer.step == 0


# --- float16 -----------------------------------------------------------------------------------


def test_float16_learns_what_float32_learns(dataset):
    words = ["epochs=2", "model.hidden=[64]"]
    _, full = trained(dataset, *words)
    half, records = trained(dataset, *words, "precision=float16")
    assert half.finished
    np.testing.assert_allclose(column(records, "loss"), column(full, "loss"), rtol=0.05, atol=0.02)
    ratio = column(records, "grad_norm_before_clip") / column(full, "grad_norm_before_clip")
    assert 0.9 < np.median(ratio) < 1.1
    assert all(p.dtype == torch.float32 for p in half.model.parameters())


def test_float16_norms_are_those_of_the_unscaled_gradient(dataset):
    """Of the first step, against autograd under the same autocast, without a scale."""
    _, records = trained(dataset, "max_steps=1", "precision=float16", "clip=none")
    twin = build_trainer(compose_train(["data=mnist5k"]), dataset)
    inputs, targets = twin.splits["train"].gather(epoch_order(1000, 0, 1)[:128])
    with torch.autocast("cpu", dtype=torch.float16):
        outputs = twin.model(inputs)
    F.cross_entropy(outputs.float(), targets).backward()
    expected = [p.grad.double().norm().item() for p in twin.model.parameters()]
    found = column(records, "parameter_grad_norm_before_clip")[0]
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    observed = [one for one in records if isinstance(one, LayerRecord)]
    plain = [
        one
        for one in trained(dataset, "max_steps=1", "clip=none")[1]
        if isinstance(one, LayerRecord)
    ]
    np.testing.assert_allclose(observed[0].input_grad_norm, plain[0].input_grad_norm, rtol=0.02)


class Steep(nn.Module):
    """Outputs whose gradients overflow float16 at the scale that a run begins with."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.layer(inputs) * 100.0


def steep(factor=1.0):
    torch.manual_seed(0)
    model = Steep()
    inputs, targets = factor * torch.randn(16, 4), torch.randint(3, (16,))
    optimizer = torch.optim.SGD(model.parameters())
    gradients = Gradients(model, find_layers(model))
    clock = PhaseClock(torch.device("cpu"))
    objective, plan = objective_named("cross_entropy"), PassPlan(precision="float16")
    return Differentiation(model, objective, optimizer, gradients, clock, plan), inputs, targets


def test_an_overflow_lowers_the_scale_and_the_passes_are_made_again():
    differentiate, inputs, targets = steep()
    forward_passes = []
    parameters = list(differentiate.loss_scale._optimizer.param_groups[0]["params"])
    original = differentiate._usual.forward
    differentiate._usual.forward = lambda x: forward_passes.append(1) or original(x)
    differentiate(inputs, targets, None)
    assert differentiate.scale < 65536
    assert len(forward_passes) == 1 + math.log2(65536 / differentiate.scale)
    assert all(p.grad.isfinite().all() for p in parameters)
    state = differentiate.state_dict()
    fresh, *_ = steep()
    fresh.load_state_dict(state)
    fresh(inputs, targets, None)
    assert fresh.scale == differentiate.scale


def test_what_no_scale_makes_finite_is_left_to_the_fault():
    differentiate, inputs, targets = steep(factor=1e30)
    loss = differentiate(inputs, targets, None)
    assert not loss.isfinite()
    assert differentiate.scale == 65536  # the loss itself is not finite, whatever the scale


def test_a_run_in_float16_resumes_to_the_bit(dataset):
    words = ["epochs=1", "precision=float16", "model.dropout=0.2", "monitor.every=0"]
    whole, _ = trained(dataset, *words)
    first, _ = trained(dataset, *words, steps=4)
    second = build_trainer(compose_train(["data=mnist5k", *words]), dataset)
    second.load_state_dict(first.state_dict())
    with torch.random.fork_rng():
        torch.set_rng_state(first.state_dict()["random"]["cpu"])
        list(second.run())
    # The random state of the rest is that of the checkpoint, which `fork_rng` has not changed.
    assert second.step == whole.step == 8
    assert second.state_dict()["loss_scale"] == whole.state_dict()["loss_scale"]


# --- An optimizer that evaluates the loss --------------------------------------------------------


@pytest.mark.parametrize("line_search", ["null", "strong_wolfe"])
@pytest.mark.parametrize("max_norm", [0.5, 1e9])
def test_lbfgs_makes_the_steps_of_a_plain_loop(dataset, line_search, max_norm):
    """Clipped in its closure, which is what a loop written by hand does."""
    words = [
        "optimizer=lbfgs",
        f"optimizer.line_search_fn={line_search}",
        "optimizer.max_iter=3",
        "optimizer.lr=0.5",
        "schedule=constant",
        "max_steps=2",
        "model=logreg",
        f"clip.max_norm={max_norm}",
        "precision=float32",
    ]
    ours, records = trained(dataset, *words)
    twin = build_trainer(compose_train(["data=mnist5k", *words]), dataset)
    model = twin.model
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        lr=0.5,
        max_iter=3,
        history_size=10,
        line_search_fn=None if line_search == "null" else line_search,
    )
    norms = []
    for indices in epoch_order(1000, 0, 1).split(128)[:2]:
        inputs, targets = twin.splits["train"].gather(indices)
        of_step = []

        def closure(inputs=inputs, targets=targets, of_step=of_step):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), targets)
            loss.backward()
            norm = math.hypot(*(p.grad.double().norm().item() for p in model.parameters()))
            for parameter in model.parameters():
                parameter.grad.mul_(min(1.0, max_norm / norm))
            of_step.append(norm)
            return loss

        optimizer.step(closure)
        norms.append(of_step[0])
        assert len(of_step) > 1
    np.testing.assert_allclose(column(records, "grad_norm_before_clip"), norms, rtol=1e-3)
    # The estimated curvature magnifies the rounding of the clipping factor.
    start = weights(build_trainer(compose_train(["data=mnist5k", *words]), dataset))
    distance = (weights(ours) - weights(twin)).norm()
    assert distance < 1e-2 * (weights(twin) - start).norm()


def test_lbfgs_resumes_to_the_bit(dataset):
    words = ["optimizer=lbfgs", "optimizer.max_iter=4", "model=logreg", "epochs=1"]
    whole, _ = trained(dataset, *words)
    first, _ = trained(dataset, *words, steps=3)
    second = build_trainer(compose_train(["data=mnist5k", *words]), dataset)
    second.load_state_dict(first.state_dict())
    with torch.random.fork_rng():
        list(second.run())
    assert torch.equal(weights(second), weights(whole))


# --- Compiled ------------------------------------------------------------------------------------


def test_a_compiled_run_compiles_the_forward_pass_of_the_steps_that_nothing_observes(
    dataset, monkeypatch
):
    """With the compiler's own tracing, but without its code generation, which needs a C++ one."""
    compiled_calls = []

    def compile_traced(model):
        traced = torch_compile(model, backend="eager")
        return lambda inputs: compiled_calls.append(1) or traced(inputs)

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile_traced)
    words = ["max_steps=8", "monitor.every=7", "model.hidden=[16]"]
    ours, records = trained(dataset, *words, "compile=true")
    monkeypatch.undo()
    _, expected = trained(dataset, *words)
    assert len(compiled_calls) == 3  # the updates 4, 6 and 7
    np.testing.assert_allclose(
        column(records, "parameter_grad_norm_before_clip"),
        column(expected, "parameter_grad_norm_before_clip"),
        rtol=1e-5,
    )
    assert set(ours.model.state_dict()) == {
        *("hidden1.weight", "hidden1.bias", "output.weight", "output.bias")
    }


# --- The default ---------------------------------------------------------------------------------


def test_the_default_plan_is_written_out_and_no_other_is(dataset, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model: model)
    for words, is_written in (
        ([], gate.is_open()),
        (["accumulate=2"], False),
        (["precision=float16"], False),
        (["compile=true"], False),
    ):
        trainer = build_trainer(compose_train(["data=mnist5k", *words]), dataset)
        assert (trainer._training_step.differentiate.written_out is not None) is is_written
