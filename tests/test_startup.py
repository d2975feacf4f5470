"""What starts immediately must stay light: the heavy libraries load when they are needed."""

import re

import pytest

from gradcli.fast import gate

HEAVY = {"torch", "hydra", "omegaconf", "matplotlib", "scipy", "numpy", "torchvision"}


def imported(importtime):
    """The top packages that `-X importtime` reports."""
    names = re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", importtime, re.MULTILINE)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["-c", "import gradcli; gradcli.__version__; gradcli.UserError"], set()),
        (["-m", "gradcli", "--help"], set()),
        (["-m", "gradcli", "--version"], set()),
        (["-m", "gradcli", "train", "--help"], set()),
        (["-m", "gradcli", "find-lr", "--help"], set()),
        (["-m", "gradcli", "runs", "list"], set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_it_starts_light(words, allowed, spawn, tmp_path):
    answer = spawn("-X", "importtime", *words, GRADCLI_RUNS=str(tmp_path))
    assert answer.code == 0, answer.err
    assert "gradcli" in imported(answer.err)
    assert imported(answer.err) & HEAVY <= allowed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trian"], "No such command"),
        (["train", "--epoch", "3"], "No such option"),
        (["train", "--lr"], "requires an argument"),
        (["compare-optimizers", "--seed"], "requires an argument"),
        (["inspect-gradients", "--chek"], "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_unknown_command_or_option_is_answered_immediately(words, says, spawn):
    answer = spawn("-X", "importtime", "-m", "gradcli", *words)
    assert answer.code == 2
    assert says in answer.err
    assert not imported(answer.err) & {*HEAVY, "pydantic"}


@pytest.mark.parametrize(
    "words",
    [
        ["train", "optimizer=adm"],
        ["train", "--epochs", "0"],
        ["train", "batch_size=many"],
        ["train", "--resume", "latest"],
        ["compare-optimizers", "--optimizers", "adm"],
        ["inspect-gradients", "activation=rleu"],
        ["configs", "optimiser"],
    ],
    ids=" ".join,
)
def test_a_mistake_in_the_config_does_not_wait_for_torch(words, spawn, tmp_path):
    answer = spawn("-X", "importtime", "-m", "gradcli", *words, GRADCLI_RUNS=str(tmp_path / "runs"))
    assert answer.code == 2
    assert "error: " in answer.err
    assert not imported(answer.err) & {"torch", "matplotlib", "torchvision", "pydantic"}


def test_what_can_be_chosen_is_listed_without_torch(spawn):
    answer = spawn("-X", "importtime", "-m", "gradcli", "configs")
    assert answer.code == 0, answer.err
    assert "optimizer" in answer.out
    assert not imported(answer.err) & {"torch", "matplotlib", "torchvision", "pydantic"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tra"], "train"),
        (["train", "optimizer=sgd", "optimizer.l"], "optimizer.lr="),
        (["compare-optimizers", "--optimizers", "sgd,rms"], "sgd,rmsprop"),
        (["runs", "show", "2026"], "20260101T000000Z-one-aaaa"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_completion_starts_light(words, expected, spawn, tmp_path):
    (tmp_path / "20260101T000000Z-one-aaaa").mkdir()
    (tmp_path / "20260101T000000Z-one-aaaa" / "run.json").write_text('{"status": "finished"}')
    asks = {"_GRADCLI_COMPLETION": "fish", "GRADCLI_RUNS": str(tmp_path)}
    answer = spawn("-X", "importtime", "-m", "gradcli", "gradcli", *words, **asks)
    assert answer.out.splitlines()[1].split("\t")[0] == expected
    assert not imported(answer.err) & {*HEAVY, "pydantic", "rich", "yaml"}
    modules = set(re.findall(r"\| +(gradcli\S*)$", answer.err, re.MULTILINE))
    assert not modules & {"gradcli.config.compose", "gradcli.records", "gradcli.runs.reader"}


def test_completion_reads_a_config_of_ones_own_without_hydra(spawn, tmp_path):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("_target_: mine.Mine\nrate: 1\n")
    words = ["train", "--config-dir", str(tmp_path), "optimizer=mine", "optimizer.r"]
    asks = {"_GRADCLI_COMPLETION": "fish"}
    answer = spawn("-X", "importtime", "-m", "gradcli", "gradcli", *words, **asks)
    assert answer.out.splitlines()[1].split("\t") == ["optimizer.rate=", "1"]
    assert not imported(answer.err) & {*HEAVY, "pydantic"}


FIRST_STEP = """
import sys
from gradcli.config import compose_train
from gradcli.workflows.train import start_run
from gradcli.system.paths import Paths
from gradcli.records import StepRecords
from gradcli.views.train.train_view import QuietView

class View(QuietView):
    def record(self, record):
        if isinstance(record, StepRecords):
            print(*sys.modules)
            sys.exit()

words = ["data=mnist5k", "max_steps=1", "model.hidden=[4]", *sys.argv[1:]]
start_run(compose_train(words), words, Paths(), View(), started=0.0)
"""


@pytest.mark.skipif(not gate.is_open(), reason="the gate is closed: PyTorch goes its own way")
def test_the_first_step_needs_neither_pictures_nor_a_compiler(spawn, tmp_path):
    answer = spawn("-c", FIRST_STEP, "clip=agc", cwd=tmp_path)
    loaded = set(answer.out.split())
    assert "torch.optim" in loaded, answer.err
    assert not loaded & {"torch._dynamo", "torch._inductor", "torchvision", "matplotlib", "scipy"}


def test_a_heavy_import_would_be_seen(spawn):
    answer = spawn("-X", "importtime", "-c", "import gradcli.views.sparkline")
    assert "numpy" in imported(answer.err)


def test_what_the_package_offers_is_there():
    import gradcli

    assert all(getattr(gradcli, name).__name__ == name for name in gradcli.__all__)
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = gradcli.nothing_of_ours
