"""What is said before a training starts, and that its suggestions work."""

import re
import sys

import pytest

import gradcli as gc
from gradcli.config import compose_train
from gradcli.data import load_dataset
from gradcli.errors import UserError
from gradcli.workflows.preflight import remarks_before_training

OWN = '''
import torch
from torch import nn


class Normalised(nn.Module):
    """Batch norm after flattening."""

    def __init__(self, classes: int, norm: str = "1d"):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.over_pixels = nn.BatchNorm2d(4) if norm == "2d" else nn.Identity()
        self.flat = nn.BatchNorm1d(4) if norm == "1d" else nn.Identity()
        if norm == "frozen":
            self.flat = nn.BatchNorm1d(4)
        self.frozen = norm == "frozen"
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.pooled = nn.BatchNorm2d(4) if norm == "pooled" else nn.Identity()
        self.squeeze = norm == "squeeze"
        self.head = nn.Linear(4, classes)

    def train(self, mode: bool = True):
        super().train(mode)
        if self.frozen:
            self.flat.eval()
        return self

    def forward(self, images):
        features = self.pooled(self.pool(self.over_pixels(self.stem(images)))).flatten(1)
        logits = self.head(self.flat(features))
        return logits.squeeze() if self.squeeze else logits
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a model of the user's own, and what names it."""
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "my_net.py").write_text(OWN)
    (tmp_path / "own" / "model" / "mine.yaml").write_text("_target_: my_net.Normalised\nnorm: 1d\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield {"config_dir": tmp_path / "own", "allow_import": ["my_net"]}
    sys.modules.pop("my_net", None)


@pytest.fixture(scope="module")
def sample():
    return load_dataset("mnist5k")


def checked(sample, *words, **options):
    return remarks_before_training(compose_train(["data=mnist5k", *words], **options), sample)


BATCH_NORM = "model.norm=batch"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["batch_size=43"], "data.drop_last=true, or batch_size=44"),
        (["batch_size=3"], "data.drop_last=true, or batch_size=4"),
        (["batch_size=3999"], "data.drop_last=true, or batch_size=4000"),
        (["batch_size=43", "max_steps=94"], "data.drop_last=true, or batch_size=44"),
        (["batch_size=1"], "batch_size=32"),
        (["batch_size=1", "max_steps=2"], "batch_size=32"),
        (["batch_size=1", "data.drop_last=true"], "batch_size=32"),
    ],
)
def test_batch_norm_and_a_batch_of_one(sample, words, hint):
    with pytest.raises(UserError, match=r"norm1 \(BatchNorm1d\) cannot be trained") as caught:
        checked(sample, BATCH_NORM, *words)
    assert caught.value.where == "batch_size / model.norm"
    assert caught.value.hint == hint
    for suggested in hint.split(", or "):
        kept = [word for word in words if word.partition("=")[0] != suggested.partition("=")[0]]
        assert checked(sample, BATCH_NORM, *kept, suggested) == []


@pytest.mark.parametrize(
    "words",
    [
        [BATCH_NORM],
        [BATCH_NORM, "batch_size=43", "data.drop_last=true"],
        [BATCH_NORM, "batch_size=43", "max_steps=93"],  # the batch of one would be the 94th
        [BATCH_NORM, "batch_size=42"],
        ["model.norm=layer", "batch_size=43"],
        ["model.norm=layer", "batch_size=1"],
        ["batch_size=1"],
        ["model=cnn", "batch_size=43"],
        ["model=rnn", "batch_size=1"],
    ],
)
def test_what_works_is_left_alone(sample, words):
    assert checked(sample, *words) == []


def test_one_training_example_has_no_other_batch_size(sample):
    one = load_dataset("mnist5k", val=4499)
    assert len(one.train) == 1
    with pytest.raises(UserError, match="only one training example") as caught:
        checked(one, BATCH_NORM)
    assert "data.val" in caught.value.hint


@pytest.mark.parametrize(
    ("norm", "module"),
    [("1d", r"flat \(BatchNorm1d\)"), ("pooled", r"pooled \(BatchNorm2d\)"),
     ("squeeze", r"Normalised")],
)  # fmt: skip
@pytest.mark.parametrize("batch_size", [1, 43])
def test_a_model_of_the_users_own_that_fails(sample, own, norm, module, batch_size):
    with pytest.raises(UserError, match=f"^{module} cannot be trained on a batch of one") as caught:
        checked(sample, "model=mine", f"model.norm={norm}", f"batch_size={batch_size}", **own)
    assert re.match("batch_size / ", caught.value.where)


@pytest.mark.parametrize("norm", ["2d", "frozen", "none"])
def test_a_model_of_the_users_own_that_works(sample, own, norm):
    words = ["model=mine", f"model.norm={norm}", "batch_size=43"]
    assert checked(sample, *words, **own) == []


def test_train_refuses_before_there_is_a_run(gradcli, runs_dir):
    answer = gradcli("train", "data=mnist5k", BATCH_NORM, "batch_size=43", "epochs=1")
    assert answer.code == 2
    assert "4,000 training examples in batches of 43 one is left over" in answer.message
    assert not runs_dir.exists()


def test_inspect_refuses_too(gradcli):
    answer = gradcli("inspect-gradients", "data=mnist5k", BATCH_NORM, "batch_size=1")
    assert answer.code == 2
    assert "where: batch_size / model.norm" in answer.message


def test_a_comparison_refuses_before_a_trial_runs(gradcli, runs_dir):
    words = [
        "--optimizers",
        "sgd",
        "data=mnist5k",
        "engine=serial",
        "--vary",
        "model.norm=none,batch",
    ]
    answer = gradcli("compare-optimizers", *words, "batch_size=43")
    assert answer.code == 2
    assert "try: data.drop_last=true, or batch_size=44" in answer.message
    assert not runs_dir.exists()


SMALL = ["data=mnist5k", "data.normalize=none", "model.hidden=[4]", "max_steps=2"]


def test_train_says_what_it_noticed_before_the_first_step(gradcli):
    answer = gradcli("train", *SMALL, "--no-live")
    assert answer.code == 0
    assert answer.err.splitlines()[0].startswith("The inputs are not scaled: they go from 0 to 255")


def test_an_inspection_of_a_fresh_model_says_it(gradcli):
    answer = gradcli("inspect-gradients", *SMALL)
    assert "The inputs are not scaled: they go from 0 to 255" in answer.message


def test_a_comparison_says_it_once(gradcli):
    words = ["--optimizers", "sgd,adam", "--seeds", "2", "protocol.tune=false", "engine=serial"]
    answer = gradcli("compare-optimizers", *words, *SMALL, "--no-live")
    assert answer.code == 0, answer.err
    assert answer.message.count("The inputs are not scaled") == 1


def test_probes_of_a_run_with_batch_norm_leave_out_an_example_of_its_own(runs_dir):
    # 1,000 examples in batches of 37 leave one over.
    run = gc.train("data=mnist5k", BATCH_NORM, "batch_size=37", "data.drop_last=true",
                   "max_steps=2", "model.hidden=[4]", runs_dir=runs_dir)  # fmt: skip
    inspection = gc.inspect(run.path, "examples=1000", "probes=[noise]", runs_dir=runs_dir)
    assert inspection.findings
