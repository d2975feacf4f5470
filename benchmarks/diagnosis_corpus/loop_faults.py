"""Faults in the code of an own loop: what is called, in which order, on what.

A fault changes a sound loop and returns the layers that a right answer may name (empty: any).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from diagnosis_corpus.broken_modules import Detach, Unused, WithoutGrad, Wrong
from diagnosis_corpus.cases import (
    ADAPTIVE,
    ARCHITECTURES,
    Answer,
    Kind,
    Setting,
    Training,
)
from diagnosis_corpus.loop import Loop, digit_loop

Fault = Callable[[Loop, random.Random], tuple[str, ...]]
Words = tuple[tuple[str, ...], ...]

#: The nets whose blocks map (b, width) to the same: anything may stand between two of them.
CHAINS = ("mlp", "normalised", "residual")


def kind_of_fault(
    name: str,
    codes: tuple[str, ...],
    fault: Fault,
    mend: Words,
    make: Callable[[Setting, random.Random], Loop] = digit_loop,
    **of_kind: Any,
) -> Kind:
    """Return a kind whose case is a sound loop with the fault, and whose twin is without."""

    def draw(drawn: random.Random, setting: Setting) -> Training:
        state = drawn.getstate()

        def twin() -> Loop:
            again = random.Random()
            again.setstate(state)
            return make(setting, again)

        def plan() -> Loop:
            again = random.Random()
            again.setstate(state)
            loop = make(setting, again)
            fault(loop, again)
            return loop

        again = random.Random()
        again.setstate(state)
        layers = fault(make(setting, again), again)
        return Training(Answer(codes, tuple(layers), mend), plan, twin)

    return Kind(name=name, way="own", draw=draw, codes=codes, **of_kind)


def layers_under(module: nn.Module, prefix: str) -> tuple[str, ...]:
    """Return the names of the layers in a submodule, as `named_modules` has them."""
    inside = module.get_submodule(prefix)
    return tuple(
        f"{prefix}.{name}".rstrip(".")
        for name, one in inside.named_modules()
        if any(True for _ in one.parameters(recurse=False))
    )


def some_block(loop: Loop, drawn: random.Random) -> str:
    """Return the name of a block drawn at random."""
    return f"blocks.{drawn.randrange(len(loop.model.blocks))}"


def up_to(loop: Loop, block: str) -> tuple[str, ...]:
    """Return the layers of the stem and of the blocks up to this one."""
    last = int(block.rpartition(".")[2])
    names = ["stem", *(f"blocks.{index}" for index in range(last + 1))]
    return tuple(layer for name in names for layer in layers_under(loop.model, name))


# What the loss sees.


def _softmax(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    loop.model.head = nn.Sequential(loop.model.head, nn.Softmax(1))
    loop.make_optimizer()
    return ()


def _softmax_in_the_loop(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    loop.loss = lambda outputs, labels: F.cross_entropy(outputs.softmax(1), labels)
    return ()


def _sigmoid(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    loop.model.head = nn.Sequential(loop.model.head, nn.Sigmoid())
    loop.make_optimizer()
    return ()


def _binary(setting: Setting, drawn: random.Random) -> Loop:
    """A loop with binary cross-entropy on one-hot labels."""
    loop = digit_loop(setting, drawn)
    loop.loss = lambda outputs, labels: F.binary_cross_entropy_with_logits(
        outputs, F.one_hot(labels, 10).float()
    )
    if loop.optimizer_name not in ADAPTIVE:  # a mean over classes, too, has smaller gradients
        loop.rate *= 5
        loop.make_optimizer()
    return loop


def _relu_before_loss(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    loop.model.head = nn.Sequential(loop.model.head, nn.ReLU())
    with torch.no_grad():
        last = [one for one in loop.model.head.modules() if isinstance(one, nn.Linear)][-1]
        last.bias.fill_(-drawn.uniform(1, 4))  # many logits begin below 0 and stay there
    loop.make_optimizer()
    return layers_under(loop.model, "head") + tuple(
        layer for name in ("stem", "blocks") for layer in layers_under(loop.model, name)
    )


def _scaled_loss(low: float, high: float) -> Fault:
    def fault(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
        loop.loss_scale = 10 ** drawn.uniform(low, high)
        return ()

    return fault


# The data.


def _shuffled_labels(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    generator = torch.Generator().manual_seed(drawn.randrange(2**31))
    labels = loop.task.labels
    loop.task.labels = labels[torch.randperm(len(labels), generator=generator)]
    return ()


def _labels_off_by_a_few(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    loop.task.labels = loop.task.labels.roll(drawn.randint(1, 5))
    return ()


def _sorted(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    order = loop.task.labels.argsort(stable=True)
    # All classes in turn, once, in the steps there are.
    starts = torch.linspace(0, len(order) - loop.batch_size, loop.steps).long()
    loop.sampler = lambda step: order[starts[step] : starts[step] + loop.batch_size]
    return ()


def _unscaled(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    from diagnosis_corpus.tasks import digits

    raw = digits(scaled=False)
    loop.task.inputs, loop.task.test_inputs = raw.inputs, raw.test_inputs
    return ()


def _outlier(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    worst = drawn.randrange(len(loop.task.labels))
    size = 10 ** drawn.uniform(3, 5)
    loop.task.inputs[worst] *= size
    when = drawn.randrange(loop.steps // 3, 2 * loop.steps // 3)
    choose = loop.choose

    def sampler(step: int) -> torch.Tensor:
        loop.sampler = None
        chosen = choose(step)
        loop.sampler = sampler
        if step == when:
            chosen[0] = worst
        return chosen

    loop.sampler = sampler
    return ()


def _tiny_batches(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    loop.batch_size = drawn.choice((1, 2))
    return ()


# Modes, and what is called when.


def _eval_mode(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    loop.training = False
    return ()


def _batch_normed(setting: Setting, drawn: random.Random) -> Loop:
    """A loop whose net has batch norm before each block."""
    loop = digit_loop(setting, drawn)
    for index, block in enumerate(loop.model.blocks):
        loop.model.blocks[index] = nn.Sequential(nn.BatchNorm1d(48), block)
    loop.make_optimizer()
    return loop


def _not_cleared(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    loop.clear = False
    return ()


# The optimizer.


def _left_out(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    block = drawn.choice(["stem", "head", some_block(loop, drawn)])
    chosen = [one for name, one in loop.model.named_parameters() if not _inside(name, block)]
    loop.make_optimizer(chosen)
    return layers_under(loop.model, block)


def _rate_of_zero(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    block = drawn.choice(["stem", "head", some_block(loop, drawn)])
    named = list(loop.model.named_parameters())
    loop.make_optimizer(
        [
            {"params": [one for name, one in named if not _inside(name, block)]},
            {"params": [one for name, one in named if _inside(name, block)], "lr": 0.0},
        ]
    )
    return layers_under(loop.model, block)


def _replaced_head(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    head = copy.deepcopy(loop.model.head)
    loop.model.head = head  # the optimizer still holds the old one
    return layers_under(loop.model, "head")


def _inside(name: str, block: str) -> bool:
    return name.startswith(f"{block}.")


# The graph.


def _detached(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    block = some_block(loop, drawn)
    index = int(block.rpartition(".")[2])
    loop.model.blocks[index] = nn.Sequential(loop.model.blocks[index], Detach())
    return layers_under(loop.model, block)


def _without_grad(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    block = some_block(loop, drawn)
    index = int(block.rpartition(".")[2])
    loop.model.blocks[index] = WithoutGrad(loop.model.blocks[index])
    return layers_under(loop.model, block)


def _unused(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    """A block that is computed, and whose output nobody uses."""
    index = drawn.randrange(len(loop.model.blocks))
    loop.model.blocks[index] = Unused(loop.model.blocks[index])
    return layers_under(loop.model, f"blocks.{index}")


def _wrong_sign(loop: Loop, drawn: random.Random) -> tuple[str, ...]:
    block = some_block(loop, drawn)
    index = int(block.rpartition(".")[2])
    wrong = Wrong(-drawn.uniform(0.5, 2))
    loop.model.blocks[index] = nn.Sequential(loop.model.blocks[index], wrong)
    return ()


def kinds() -> Iterator[Kind]:
    """Yield the kinds of fault."""
    flat = {"architectures": CHAINS}
    sgd = {"optimizers": ("sgd", "momentum", "nesterov")}
    certain = {"structural": True}
    before = "softmax-before-loss"
    remove = (("remove", "without", "drop", "delete", "raw", "logits"),)
    yield kind_of_fault("softmax", (before,), _softmax, (("softmax",), *remove), **certain)
    yield kind_of_fault(
        "softmax in the loop", (before,), _softmax_in_the_loop, (("softmax",), *remove), **certain
    )
    yield kind_of_fault("sigmoid", (before,), _sigmoid, (("sigmoid",), *remove), **certain)
    yield kind_of_fault(
        "sigmoid before bce", (before,), _sigmoid, (("sigmoid",), *remove), _binary, **certain
    )
    yield kind_of_fault(
        "relu before the loss",
        ("dead-units", before),
        _relu_before_loss,
        (("relu", "activation"),),
    )
    scale = (("loss",), ("scale", "factor", "multipl", "divid"))
    yield kind_of_fault("tiny loss", ("loss-scale",), _scaled_loss(-9, -6), scale)
    yield kind_of_fault("huge loss", ("loss-scale",), _scaled_loss(5, 9), scale, **sgd)
    yield kind_of_fault("shuffled labels", ("labels",), _shuffled_labels, (("label",),))
    yield kind_of_fault("labels off by a few", ("labels",), _labels_off_by_a_few, (("label",),))
    yield kind_of_fault("sorted", ("data-order",), _sorted, (("shuffle",),))
    yield kind_of_fault(
        "pixels of 0 to 255",
        ("unscaled-inputs",),
        _unscaled,
        (("scale", "normali", "standardi", "divid"), ("input", "pixel", "image")),
    )
    yield kind_of_fault(
        "outlier",
        ("bad-batch",),
        _outlier,
        (("example", "batch", "input"), ("outlier", "check", "remove", "look", "clip")),
        architectures=("mlp", "cnn"),
        **sgd,  # the others divide it by itself
    )
    yield kind_of_fault(
        "tiny batches",
        ("noise-dominated", "lr-too-high"),
        _tiny_batches,
        (("batch", "rate"),),
        architectures=("mlp", "cnn"),
    )
    yield kind_of_fault(
        "eval mode",
        ("batch-norm-mode",),
        _eval_mode,
        (("train()", "train mode", "model.train"),),
        _batch_normed,
        architectures=("mlp",),
        **certain,
    )
    yield kind_of_fault("not cleared", ("not-cleared",), _not_cleared, (("zero_grad",),), **certain)
    held = (("optimizer",),)
    yield kind_of_fault("left out", ("not-updated",), _left_out, held, **certain)
    yield kind_of_fault("rate of 0", ("not-updated",), _rate_of_zero, (("rate", "lr"),), **certain)
    yield kind_of_fault("head replaced", ("not-updated",), _replaced_head, held, **certain)
    graph = (("detach", "no_grad"),)
    every = {"architectures": ARCHITECTURES}
    yield kind_of_fault("detached", ("no-gradient",), _detached, graph, **certain, **every)
    yield kind_of_fault("no_grad", ("no-gradient",), _without_grad, graph, **certain, **every)
    yield kind_of_fault(
        "unused block",
        ("no-gradient",),
        _unused,
        (("used", "unused", "result", "output"),),
        **certain,
        **flat,
    )
    yield kind_of_fault(
        "wrong sign",
        ("wrong-gradient",),
        _wrong_sign,
        (("backward", "gradcheck", "autograd.function", "sign"),),
        **flat,
    )


__all__ = ["CHAINS", "kind_of_fault", "kinds", "layers_under", "some_block", "up_to"]
