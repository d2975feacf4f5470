"""Pairs of runs of `gradcli train` that one override sets apart: `runs diff` names its place."""

import json

import pytest

SMALL = (
    *("data=mnist5k", "model.hidden=[8,6]", "optimizer=sgd", "optimizer.lr=0.1"),
    *("schedule=constant", "max_steps=4", "monitor.every=1", "device=cpu", "threads=1"),
)
LAYERS = ["hidden1", "hidden2", "output"]
GROUP = "optimizer.groups={one:{where:{names:'hidden2*'},%s},rest:{}}"
REDRAWN = """
from dataclasses import dataclass

import torch
from gradcli.models.initialisation import Default


@dataclass(frozen=True, kw_only=True)
class Redrawn(Default):
    layer: str
    seed: int

    def __call__(self, model, activation):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model.get_submodule(self.layer).reset_parameters()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with runs, and with an initialisation that draws one layer with its own seed."""
    path = tmp_path_factory.mktemp("train")
    (path / "my" / "init").mkdir(parents=True)
    (path / "my" / "init" / "redrawn.yaml").write_text(
        "_target_: my_redrawn.Redrawn\nlayer: hidden2\nseed: 5\n"
    )
    (path / "my_redrawn.py").write_text(REDRAWN)
    return path


@pytest.fixture(scope="module")
def trained():
    """The runs so far, by their overrides: one is the first of many pairs."""
    return {}


@pytest.fixture
def diff(folder, trained, gradcli, monkeypatch):
    """Train two runs by their overrides, and return what `runs diff` says: the JSON, the screen."""
    monkeypatch.syspath_prepend(str(folder))
    runs_dir = str(folder / "runs")
    own = ("--config-dir", str(folder / "my"), "--allow-import", "my_redrawn")

    def run(words):
        if words not in trained:
            command = ("train", *SMALL, *words, *own, "--runs-dir", runs_dir, "--json", "-q")
            answer = gradcli(*command)
            assert answer.code in (0, 4), answer.err  # 4: it diverged
            trained[words] = json.loads(answer.out)["run"]
        return trained[words]

    def ask(*words, base=()):
        pair = "runs", "diff", run(base), run(words)
        return json.loads(gradcli(*pair, "--json").out), " ".join(gradcli(*pair).out.split())

    return ask


def place(found):
    first = found["first_place"]
    return first["step"], first["stage"], first["layers"], first["sure"]


def reasons(found):
    return [(one["key"], one["a"], one["b"]) for one in found["first_place"]["reasons"]]


def test_one_layer_drawn_with_another_seed(diff):
    found, said = diff("init=redrawn", "init.seed=6", base=("init=redrawn",))
    assert place(found) == (1, "weights", ["hidden2"], True)
    assert "part in hidden2 at step 1: the initial weights differ" in said
    assert "The runs differ in init.seed alone." in said


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("lr:0.05", ("hidden2 learning rate", 0.1, 0.05)),
        ("weight_decay:0.1", ("hidden2 weight decay", 0, 0.1)),
        ("momentum:0.5", ("hidden2 momentum", 0, 0.5)),
    ],
)
def test_a_setting_of_one_parameter_group(diff, setting, reason):
    found, said = diff(GROUP % setting)
    step = 3 if setting.startswith("momentum") else 2  # the first momentum is the gradient
    assert place(found) == (step, "update", ["hidden2"], True)
    assert reasons(found) == [reason]
    assert f"part in hidden2 at step {step}: the weights differ" in said


def test_the_weight_decay_of_all_layers(diff):
    found, said = diff("optimizer.weight_decay=0.1")
    assert place(found) == (2, "update", LAYERS, True)
    assert "(the weight decay of each of them is 0 in a, 0.1 in b)" in said


def test_the_seed_is_of_all_layers(diff):
    found, said = diff("seed=1")
    assert place(found) == (1, "weights", LAYERS, True)
    assert "all layers at once" in said and "The batch differs, too." in said


def test_the_precision_shows_in_the_first_layer_that_it_rounds(diff):
    found, said = diff("precision=bfloat16")
    assert place(found) == (1, "output", ["hidden1"], True)
    assert "rounding" not in said  # bfloat16 is far more


def test_the_clipping_is_of_all_layers_and_of_no_gradient(diff):
    found, said = diff("clip.max_norm=0.001")
    assert place(found) == (1, "clip", LAYERS, True)
    assert "the gradient norms are the same before it, but not after it" in said


def test_clipping_that_never_clips_is_no_difference(diff):
    found, said = diff("clip=none", base=("clip.max_norm=1e6",))
    assert found["first_place"] is None
    assert "but made the same steps" in said


def test_the_activation_is_between_two_layers(diff):
    found, said = diff("activation=tanh")
    assert place(found) == (1, "input", ["hidden2"], True)
    assert "part just before hidden2 at step 1" in said


@pytest.mark.parametrize("word", ["batch_size=64", "accumulate=2"])
def test_another_batch_is_of_no_layer(diff, word):
    found, said = diff(word)
    assert place(found) == (1, "batch", [], True)
    assert "No layer is to blame." in said
    assert f"differ in {word.partition('=')[0]} alone" in said


def test_the_same_batch_in_two_passes_differs_by_the_rounding_of_the_loss(diff):
    found, said = diff("batch_size=64", "accumulate=2")
    assert place(found) == (1, "loss", [], True)
    assert "in the loss, by no more than rounding" in said
    assert "The targets" not in said  # which are the same


def test_a_rate_of_the_biases_alone_is_said_to_be_theirs(diff):
    group = "+optimizer.groups={biases:{where:{names:'*.bias'},lr:0.01},rest:{}}"
    found, screen = diff(group)
    assert place(found) == (2, "update", LAYERS, True)
    expected = [(f"{name} learning rate of bias", 0.1, 0.01) for name in LAYERS]
    assert reasons(found) == expected
    assert "(the learning rate of bias in each of them is 0.1 in a, 0.01 in b)" in screen


def test_a_run_that_breaks_off_is_not_said_to_be_observed_too_seldom(diff):
    found, screen = diff("optimizer.lr=1e30", "clip=none")
    assert (found["first_place"]["stage"], found["first_place"]["non_finite"]) == (
        "unobserved",
        "b",
    )
    assert "at step 2 the loss or the gradients of b are not finite" in screen
    assert "monitor.every" not in screen
    assert found["growth"] is None
