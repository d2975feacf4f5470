"""Sound trainings: the usual ones, and odd ones that are meant as they are."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from diagnosis_corpus.cases import OPTIMIZERS, Answer, Kind, Setting, Training
from diagnosis_corpus.loop import RATES, Loop, digit_loop, make_optimizer
from diagnosis_corpus.loop_faults import CHAINS
from diagnosis_corpus.nets import WIDTH, Residual
from diagnosis_corpus.odd_nets import ByHand, LayerScaled, Lora, Pair, Sometimes, Texts, Tied
from diagnosis_corpus.tasks import Task, curve, words
from diagnosis_corpus.train_faults import SHIPPED, sound_config

ADAMS = ("adam", "adamw", "nadam")


def _kind(name: str, make: Callable[[Setting, random.Random], Loop], **of_kind: Any) -> Kind:
    def draw(drawn: random.Random, setting: Setting) -> Training:
        state = drawn.getstate()

        def plan() -> Loop:
            again = random.Random()
            again.setstate(state)
            return make(setting, again)

        return Training(Answer(), plan)

    return Kind(name=name, way="own", draw=draw, **of_kind)


def _configured(name: str, change: Callable[[random.Random, Setting], list[str]], **of_kind: Any):
    def draw(drawn: random.Random, setting: Setting) -> Training:
        return Training(Answer(), [*sound_config(drawn, setting), *change(drawn, setting)])

    return Kind(name=name, way="train", draw=draw, **of_kind)


# Own loops.


def _frozen_base(setting: Setting, drawn: random.Random) -> Loop:
    loop = digit_loop(setting, drawn)
    loop.model.stem.requires_grad_(False)
    if drawn.random() < 0.5:
        loop.model.blocks.requires_grad_(False)
    loop.make_optimizer([one for one in loop.model.parameters() if one.requires_grad])
    return loop


def _lora(setting: Setting, drawn: random.Random) -> Loop:
    loop = digit_loop(setting, drawn)
    rank = drawn.choice((2, 4, 8))
    for block in loop.model.blocks:
        block[0] = Lora(block[0], rank)
    loop.make_optimizer([one for one in loop.model.parameters() if one.requires_grad])
    return loop


def _embedding(setting: Setting, drawn: random.Random) -> Loop:
    seed = drawn.randrange(2**31)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    task = words(generator, vocabulary=drawn.choice((100, 200)))
    rows = drawn.choice((2_000, 10_000, 20_000))  # most words never occur
    rate = 4e-3 * 10 ** drawn.uniform(-0.2, 0.2)
    return Loop(Texts(rows), task, setting[1], rate, drawn.randrange(150, 220), 64, generator)


def _layer_scale(setting: Setting, drawn: random.Random) -> Loop:
    loop = digit_loop(setting, drawn)
    scale = drawn.choice((1e-6, 1e-5, 1e-4))
    loop.model.blocks = nn.Sequential(
        *(LayerScaled(WIDTH, scale) for _ in range(drawn.randint(2, 4)))
    )
    loop.make_optimizer()
    return loop


def _big_batch(setting: Setting, drawn: random.Random) -> Loop:
    return digit_loop(setting, drawn, batch_size=drawn.choice((512, 1000)))


def _warm_up(setting: Setting, drawn: random.Random) -> Loop:
    """A rate that begins next to nothing and rises over the first half."""
    loop = digit_loop(setting, drawn)
    top, rise = loop.rate, loop.steps // 2

    def before_step(step: int) -> None:
        for group in loop.optimizer.param_groups:
            group["lr"] = top * min(1.0, (step + 1) / rise) ** 2

    loop.before_step = before_step
    return loop


def _accumulation(setting: Setting, drawn: random.Random) -> Loop:
    return digit_loop(setting, drawn, accumulate=drawn.choice((2, 4)), batch_size=32)


def _clipped_now_and_then(setting: Setting, drawn: random.Random) -> Loop:
    return digit_loop(setting, drawn, max_norm=drawn.choice((2.0, 5.0)))


def _regression(setting: Setting, drawn: random.Random) -> Loop:
    seed = drawn.randrange(2**31)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    activation = drawn.choice((nn.Tanh, nn.GELU, nn.SiLU))
    model = nn.Sequential(
        nn.Linear(8, 48), activation(), nn.Linear(48, 48), activation(), nn.Linear(48, 1)
    )
    rate = RATES[setting[1]] * (1 if setting[1] not in ("sgd", "adagrad") else 1.5)
    return Loop(
        model,
        curve(generator),
        setting[1],
        rate,
        drawn.randrange(200, 300),
        64,
        generator,
        loss=F.mse_loss,
    )


def _two_rates(setting: Setting, drawn: random.Random) -> Loop:
    """The head learns faster than the rest, as in fine-tuning."""
    loop = digit_loop(setting, drawn)
    head = list(loop.model.head.parameters())
    rest = [*loop.model.stem.parameters(), *loop.model.blocks.parameters()]
    slow = loop.rate / drawn.choice((3, 10))
    loop.make_optimizer([{"params": head}, {"params": rest, "lr": slow}])
    return loop


def _negative_loss(setting: Setting, drawn: random.Random) -> Loop:
    """A loss shifted below zero, as likelihoods of densities are."""
    loop = digit_loop(setting, drawn)
    shift = drawn.uniform(2.3, 5)
    loop.loss = lambda outputs, labels: F.cross_entropy(outputs, labels) - shift
    return loop


def _label_smoothing(setting: Setting, drawn: random.Random) -> Loop:
    loop = digit_loop(setting, drawn)
    loop.loss = nn.CrossEntropyLoss(label_smoothing=drawn.choice((0.1, 0.2)))
    return loop


def _nll(setting: Setting, drawn: random.Random) -> Loop:
    """Log-softmax in the model, and the loss that wants it."""
    loop = digit_loop(setting, drawn)
    loop.model.head = nn.Sequential(loop.model.head, nn.LogSoftmax(1))
    loop.loss = F.nll_loss
    loop.make_optimizer()
    return loop


def _sam(loop: Loop, monitor: Any) -> None:
    """Two passes per update (Foret et al. 2021)."""
    radius = 0.02
    for step in range(loop.steps):
        chosen = loop.choose(step)
        inputs, labels = loop.task.inputs[chosen], loop.task.labels[chosen]
        loop.optimizer.zero_grad()
        loop.loss(loop.model(inputs), labels).backward()
        parameters = [one for one in loop.model.parameters() if one.grad is not None]
        norm = torch.stack([one.grad.norm() for one in parameters]).norm() + 1e-12
        moves = [radius * one.grad / norm for one in parameters]
        with torch.no_grad():
            for one, move in zip(parameters, moves, strict=True):
                one.add_(move)
        loop.optimizer.zero_grad()
        loss = loop.loss(loop.model(inputs), labels)
        loss.backward()
        with torch.no_grad():
            for one, move in zip(parameters, moves, strict=True):
                one.sub_(move)
        monitor.step(loss)
        loop.optimizer.step()


def _sharpness_aware(setting: Setting, drawn: random.Random) -> Loop:
    loop = digit_loop(setting, drawn)
    loop.body = _sam
    return loop


def _stochastic_depth(setting: Setting, drawn: random.Random) -> Loop:
    loop = digit_loop(setting, drawn)
    chooser = random.Random(drawn.random())
    loop.model.blocks = nn.Sequential(*(Sometimes(block, chooser) for block in loop.model.blocks))
    loop.make_optimizer()
    return loop


def _weight_tying(setting: Setting, drawn: random.Random) -> Loop:
    loop = digit_loop(setting, drawn)
    loop.model = Tied()
    flat = loop.task.inputs.flatten(1)
    test = loop.task.test_inputs.flatten(1)
    loop.task = Task(loop.task.inputs, flat, loop.task.test_inputs, test)
    loop.loss = F.mse_loss
    loop.make_optimizer()
    return loop


def _adversaries(loop: Loop, monitor: Any) -> None:
    """A GAN, whose discriminator or generator is watched."""
    pair, loss_of = loop.model, F.binary_cross_entropy_with_logits
    one, zero = torch.ones(64, 1), torch.zeros(64, 1)
    other = loop.options["other"]
    watches_generator = loop.options["watches_generator"]
    for_g, for_d = (loop.optimizer, other) if watches_generator else (other, loop.optimizer)
    for _ in range(loop.steps):
        real = F.normalize(torch.randn(64, 2, generator=loop.generator)) * 2
        fake = pair.generator(torch.randn(64, 4, generator=loop.generator))
        for_d.zero_grad()
        loss = loss_of(pair.discriminator(real), one)
        loss = loss + loss_of(pair.discriminator(fake.detach()), zero)
        loss.backward()
        if not watches_generator:
            monitor.step(loss)
        for_d.step()
        for_g.zero_grad()
        loss = loss_of(pair.discriminator(fake), one)
        loss.backward()
        if watches_generator:
            monitor.step(loss)
        for_g.step()


def _gan(setting: Setting, drawn: random.Random) -> Loop:
    """Sometimes the whole pair is watched, of which the optimizer holds one half."""
    loop = digit_loop(setting, drawn, rate=5e-4)
    loop.model = Pair()
    watches_generator = drawn.random() < 0.5
    halves = [loop.model.generator, loop.model.discriminator]
    mine, others = halves if watches_generator else halves[::-1]
    loop.make_optimizer(mine.parameters())
    loop.options = {
        "other": make_optimizer(setting[1], others.parameters(), 5e-4),
        "watches_generator": watches_generator,
    }
    loop.watched = loop.model if drawn.random() < 0.5 else mine
    loop.body = _adversaries
    loop.level = lambda _: 1.0
    return loop


def _unfreezing(setting: Setting, drawn: random.Random) -> Loop:
    """The stem is frozen at first, and freed in the middle."""
    loop = digit_loop(setting, drawn)
    loop.model.stem.requires_grad_(False)
    middle = loop.steps // 2

    def before_step(step: int) -> None:
        if step == middle:
            loop.model.stem.requires_grad_(True)

    loop.before_step = before_step
    return loop


def _kept_average(setting: Setting, drawn: random.Random) -> Loop:
    """A copy of the net follows it without gradients, as a teacher does."""
    loop = digit_loop(setting, drawn)
    teacher = copy.deepcopy(loop.model).requires_grad_(False)

    @torch.no_grad()
    def before_step(step: int) -> None:
        for mine, its in zip(teacher.parameters(), loop.model.parameters(), strict=True):
            mine.lerp_(its, 0.01)

    loop.before_step = before_step
    return loop


def _zero_residual(setting: Setting, drawn: random.Random) -> Loop:
    """Residual branches that begin at zero (Zhang et al. 2019)."""
    loop = digit_loop(setting, drawn)
    blocks = []
    for _ in range(drawn.randint(2, 5)):
        last = nn.Linear(WIDTH, WIDTH)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        blocks.append(Residual(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), last)))
    loop.model.blocks = nn.Sequential(*blocks)
    loop.make_optimizer()
    return loop


def _by_hand(setting: Setting, drawn: random.Random) -> Loop:
    """A backward pass written by hand: the right one, or one that is meant to be another."""
    loop = digit_loop(setting, drawn)
    index = drawn.randrange(len(loop.model.blocks))
    by_hand = ByHand(rounds=drawn.random() < 0.5)
    loop.model.blocks[index] = nn.Sequential(loop.model.blocks[index], by_hand)
    return loop


def _zero_head(setting: Setting, drawn: random.Random) -> Loop:
    """A head that begins at zero, so that at first nothing else has a gradient."""
    loop = digit_loop(setting, drawn)
    nn.init.zeros_(loop.model.head.weight)
    nn.init.zeros_(loop.model.head.bias)
    return loop


def kinds() -> Iterator[Kind]:
    """Yield the kinds of sound training."""
    yield _configured("usual", lambda drawn, setting: [])
    yield _configured("usual, unclipped", lambda drawn, setting: ["clip=none"])
    yield _configured("one cycle", lambda drawn, setting: ["schedule=onecycle"])
    yield _configured("other seeds", lambda drawn, setting: [f"seed={drawn.randrange(10**6)}"])
    yield _configured("big batches", lambda drawn, setting: ["batch_size=256", "epochs=6"])
    yield _configured(
        "some decay",
        lambda drawn, setting: ["optimizer.weight_decay=1e-4"],
    )
    yield _configured(
        "some dropout", lambda drawn, setting: ["model.dropout=0.2"], architectures=SHIPPED
    )
    yield _configured(
        "pixels of 0 to 1",
        lambda drawn, setting: ["data.normalize=0-1"],
        architectures=("mlp", "cnn"),
    )
    yield _configured(
        "long plateau",
        lambda drawn, setting: ["activation=sigmoid", "model.hidden=[48,48,48]", "epochs=6"],
        architectures=("mlp",),
        optimizers=ADAMS,
    )
    yield _kind("usual", digit_loop)
    yield _kind("big batch", _big_batch, architectures=CHAINS)
    yield _kind("clipped now and then", _clipped_now_and_then)
    yield _kind("warm-up", _warm_up)
    yield _kind("accumulation", _accumulation)
    yield _kind("frozen base", _frozen_base, architectures=("cnn", *CHAINS))
    yield _kind("lora", _lora, architectures=("mlp",), optimizers=("adam", "adamw", "nadam"))
    yield _kind("embedding", _embedding, architectures=("rnn",), optimizers=ADAMS)
    yield _kind("layer scale", _layer_scale, architectures=("mlp",), optimizers=ADAMS)
    yield _kind("regression", _regression, architectures=("mlp",))
    yield _kind("two rates", _two_rates)
    yield _kind("negative loss", _negative_loss)
    yield _kind("label smoothing", _label_smoothing)
    yield _kind("log-softmax and nll", _nll)
    yield _kind("double step", _sharpness_aware, architectures=("mlp", "cnn"))
    yield _kind("stochastic depth", _stochastic_depth, architectures=("mlp",))
    yield _kind("weight tying", _weight_tying, architectures=("mlp",), optimizers=ADAMS)
    yield _kind("gan", _gan, architectures=("mlp",), optimizers=("adam", "rmsprop", "nadam"))
    yield _kind("unfreezing", _unfreezing, architectures=("cnn", *CHAINS))
    yield _kind("teacher", _kept_average, architectures=("mlp",))
    yield _kind("zero residual", _zero_residual, architectures=("mlp",))
    yield _kind("backward by hand", _by_hand, architectures=CHAINS)
    yield _kind("zero head", _zero_head, architectures=("mlp", "cnn", "normalised"))


assert set(RATES) == set(OPTIMIZERS)
