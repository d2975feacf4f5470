"""The commands that `compare_checkouts.py` runs in both checkouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Case:
    """Commands that run one after the other in one folder.

    Args:
        name: unique; `--only` selects by a part of it.
        commands: the arguments after `python` of each command.
        exit_code: the one that every command must end with.
        files: texts that are written into the folder first, by path.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    exit_code: int = 0
    files: Mapping[str, str] = field(default_factory=dict)


_GRADCLI = ("-m", "gradcli")
_OUTPUT = ("--runs-dir", "runs", "--json")
_DATA = ("data=mnist5k", "threads=1")
_SMALL = ("model.hidden=[32,16]",)

#: A training loop of the user's own, on data that follow from a seed.
_LOOP = """\
import torch
from gradcli import GradientMonitor
torch.set_num_threads(1)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2))
optimizer = torch.optim.AdamW(model.parameters())
inputs, labels = torch.randn(64, 20), torch.randint(2, (64,))
with GradientMonitor(model, optimizer, name="mine", runs_dir="runs") as monitor:
    for _ in range(30):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        monitor.step(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "loop.pt")
"""


def _train(*words: str) -> tuple[str, ...]:
    """Return the command that trains for one epoch, 32 steps, unless told otherwise."""
    return (*_GRADCLI, "train", *_DATA, "epochs=1", *words, *_OUTPUT, "-q")


def _training(name: str, *words: str, exit_code: int = 0) -> Case:
    return Case(name, (_train(*words),), exit_code)


def _inspect(*words: str) -> tuple[str, ...]:
    return (*_GRADCLI, "inspect-gradients", *words, *_OUTPUT, "-q")


def _runs(*words: str) -> tuple[str, ...]:
    return (*_GRADCLI, "runs", *words, *_OUTPUT)


def _export(format_: str) -> tuple[str, ...]:
    return (*_GRADCLI, "runs", "export", "latest", "--format", format_, "--runs-dir", "runs")


_FRESH = (*_DATA, "examples=128")
_COMPARE = (
    *(*_GRADCLI, "compare-optimizers", *_DATA, *_SMALL, "--optimizers", "sgd,adam", "--jobs", "1"),
    *("epochs=1", "protocol.learning_rates=2", "protocol.widenings=1", "protocol.widen_by=1"),
    *("protocol.seeds=2", "max_steps=16", *_OUTPUT, "-q"),
)

CASES = (
    _training("model logreg", "model=logreg", "optimizer=sgd", "schedule=constant", "init=normal"),
    _training("init zeros", "model=logreg", "optimizer=sgd", "init=zeros"),
    _training("model mlp", "model=mlp"),
    _training(
        "model mlp, norm and dropout",
        *("model.hidden=[32,32,32]", "model.norm=batch", "model.dropout=0.2"),
        *("model.residual=true", "decay_biases_and_norms=false", "optimizer=adamw"),
    ),
    _training("model deep_mlp", "model=deep_mlp", "activation=sigmoid", "init=xavier"),
    _training("model cnn", "model=cnn", "max_steps=12"),
    _training("model cnn_2c2d", "model=cnn_2c2d", "init=truncated_normal", "max_steps=3"),
    _training("model rnn", "model=rnn", "max_steps=12", "monitor.every=5"),
    _training("model resnet", "model=resnet", "model.width=4", "max_steps=6"),
    _training("model vit", "model=vit", "max_steps=6"),
    _training("model of torchvision", "model=torchvision.squeezenet1_1", "max_steps=2"),
    replace(
        _training("model charlm", "data=text", "data.path=a.txt", "model=charlm", "max_steps=6"),
        files={
            "a.txt": "".join(f"{number} is one more than {number - 1}. " for number in range(999))
        },
    ),
    _training("data mnist1d", "data=mnist1d", "model=cnn", "max_steps=12"),
    _training("data austen", "data=austen", "model=charlm", "model.layers=1", "max_steps=6"),
    _training("augment none", *_SMALL, "augment=none"),
    _training("augment shift", *_SMALL, "augment=shift", "max_steps=6"),
    _training("augment crop_flip", *_SMALL, "augment=crop_flip", "max_steps=6"),
    _training("clip agc", *_SMALL, "clip=agc"),
    _training("clip autoclip", *_SMALL, "clip=autoclip"),
    _training("clip none", *_SMALL, "clip=none"),
    _training("clip norm", *_SMALL, "clip=norm", "clip.max_norm=0.3"),
    _training("clip per_layer", *_SMALL, "clip=per_layer", "clip.max_norm=0.3"),
    _training("clip value", *_SMALL, "clip=value"),
    _training("clip zclip", *_SMALL, "clip=zclip", "clip.warmup_steps=5", "clip.z_threshold=0.5"),
    _training("optimizer sgd", *_SMALL, "optimizer=sgd", "activation=elu", "schedule=step"),
    _training(
        "optimizer momentum",
        *(*_SMALL, "optimizer=momentum", "activation=gelu", "schedule=warmup_cosine"),
        "init=kaiming",
    ),
    _training(
        "optimizer nesterov",
        *(*_SMALL, "optimizer=nesterov", "activation=identity", "init=orthogonal"),
    ),
    _training("optimizer adam", *_SMALL, "optimizer=adam", "optimizer.amsgrad=true"),
    _training("optimizer adamw", *_SMALL, "optimizer=adamw", "activation=leaky_relu"),
    _training("optimizer rmsprop", *_SMALL, "optimizer=rmsprop", "activation=silu"),
    _training("optimizer adagrad", *_SMALL, "optimizer=adagrad", "activation=softplus"),
    _training("optimizer adadelta", *_SMALL, "optimizer=adadelta", "activation=tanh"),
    _training("optimizer adamax", *_SMALL, "optimizer=adamax", "activation=relu"),
    _training("optimizer nadam", *_SMALL, "optimizer=nadam", "init=default"),
    _training("optimizer radam", *_SMALL, "optimizer=radam", "schedule=cosine"),
    _training("optimizer adafactor", *_SMALL, "optimizer=adafactor"),
    _training("optimizer muon", "model=cnn", "optimizer=muon", "max_steps=12"),
    _training("schedule onecycle", *_SMALL, "optimizer=adam", "schedule=onecycle"),
    replace(
        _training("schedule of torch", *_SMALL, "schedule=torch_onecycle", "--config-dir", "own"),
        files={
            "own/schedule/torch_onecycle.yaml": "_target_: torch.optim.lr_scheduler.OneCycleLR\n"
            "max_lr: 0.01\n"
        },
    ),
    _training("bfloat16", *_SMALL, "precision=bfloat16"),
    _training("float16", *_SMALL, "precision=float16"),
    _training("accumulate", *_SMALL, "batch_size=32", "accumulate=3"),
    _training("optimizer lbfgs", *_SMALL, "optimizer=lbfgs", "clip=none"),
    _training("two threads", "threads=2"),
    _training(
        "probes of a run",
        *(*_SMALL, "monitor.every=4", "monitor.probes=[all]", "monitor.probes_at=[start,10,epoch]"),
    ),
    _training(
        "diverged",
        *(*_SMALL, "optimizer=sgd", "optimizer.lr=1e30", "clip=none", "activation=identity"),
        exit_code=4,
    ),
    Case(
        "resumed run",
        (
            _train("model.dropout=0.1", *_SMALL),
            (*_GRADCLI, "train", "--resume", "latest", "epochs=2", *_OUTPUT, "-q"),
        ),
    ),
    Case("inspect a fresh mlp", (_inspect(*_FRESH, *_SMALL, "--probe", "all", "--check"),)),
    Case("inspect a fresh rnn", (_inspect(*_FRESH, "model=rnn", "--probe", "all"),)),
    Case("inspect side by side", (_inspect(*_FRESH, *_SMALL, "--vary", "activation=relu,tanh"),)),
    Case(
        "inspect a run",
        (
            _train("model=deep_mlp", "activation=sigmoid", "monitor.every=4"),
            _inspect("latest", "examples=128", "--probe", "all", "--check"),
        ),
    ),
    Case("comparison", (_COMPARE, _COMPARE, _runs("show", "latest"), _runs("list"))),
    Case(
        "runs list, show, diff, export",
        (
            _train(*_SMALL, "name=one"),
            _train(*_SMALL, "name=two", "seed=1"),
            _runs("list"),
            _runs("show", "latest"),
            _runs("diff", "Z-one-", "Z-two-"),
            _export("csv"),
            _export("jsonl"),
        ),
    ),
    Case(
        "GradientMonitor",
        (("-c", _LOOP), _runs("show", "latest"), _inspect("latest"), _export("csv")),
    ),
)
