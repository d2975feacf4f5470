"""Every option that is shipped is composed, built and trained for one step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gradcli.config import compose_train
from gradcli.config.config_files import (
    COMPARISON_GROUPS,
    EXPERIMENT_GROUP,
    GROUPS,
    shipped_configs,
)
from gradcli.config.targets import SHIPPED_CLASSES
from gradcli.data import idx, load_dataset
from gradcli.records import StepRecords, norm_by_layer
from gradcli.workflows.building import build_trainer

CONFIGS = Path(__file__).parents[2] / "configs"
OPTIONS = sorted(
    str(path.relative_to(CONFIGS).with_suffix(""))
    for group in GROUPS
    for path in CONFIGS.glob(f"{group}/*")
)
DATA_OPTIONS = [option for option in OPTIONS if option.startswith("data/")]
#: tests/workflows/test_own_files.py and test_problem.py train with them.
OF_THE_USER = {f"data/{name}" for name in ("npz", "arrays", "images", "table", "text", "problem")}
OF_TEXT = "model/charlm"
#: It needs a library that is not in the `test` extra.
OF_AN_EXTRA = "model/timm"
#: Options that need the name of a network, or another one than the default.
NETWORKS = {
    "model/torchvision": ["model=torchvision.resnet18"],
    "init/zeros": ["init=zeros", "model=logreg"],
}
OTHERS = [option for option in OPTIONS if option not in (*DATA_OPTIONS, OF_TEXT, OF_AN_EXTRA)]
#: tests/data/shipped/test_scikit_learn.py reads them, where it is installed.
OF_SCIKIT_LEARN = {"data/digits", "data/breast_cancer"}


@pytest.fixture(scope="module")
def few_digits():
    """The first of the sample's images: enough for a step, and for what follows it."""
    dataset = load_dataset("mnist5k")
    return replace(dataset, train=dataset.train[:256], val=dataset.val[:32], test=dataset.test[:32])


def first_step(composed, dataset):
    """The record of the first step, and its gradient norms by layer."""
    trainer = build_trainer(composed, dataset)
    steps = next(record for record in trainer.run() if isinstance(record, StepRecords))
    assert len(steps) == 1
    return steps, norm_by_layer(steps.parameter_grad_norm_before_clip, trainer.layers)[0]


def test_the_groups_are_the_folders():
    assert shipped_configs() == CONFIGS
    assert {path.name for path in CONFIGS.iterdir() if path.is_dir()} == {
        *GROUPS,
        *COMPARISON_GROUPS,
        EXPERIMENT_GROUP,
        "tracker",
    }


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_file_begins_by_saying_what_it_is(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(line for line in lines if not line.startswith("# @package"))
    assert first.startswith("# ")
    assert len(first) > 10


def require(option):
    """Skip the test if an option needs what is not installed."""
    target = yaml.safe_load((CONFIGS / f"{option}.yaml").read_text()).get("_target_")
    if target in SHIPPED_CLASSES:
        pytest.importorskip(target.partition(".")[0], reason="it is in the extra `optimizers`")
    if option == "optimizer/muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip("torch 2.9 has it")


@pytest.mark.parametrize("option", OTHERS)
def test_an_option_trains(option, few_digits):
    require(option)
    named = NETWORKS.get(option, [option.replace("/", "=")])
    composed = compose_train([*named, "data=mnist5k"])
    steps, norms = first_step(composed, few_digits)
    assert np.isfinite(steps.loss).all()
    assert np.isfinite(norms).all()
    assert (norms > 0).all()


def test_an_option_takes_only_classes_that_are_allowed_and_each_of_those_is_needed():
    targets = {yaml.safe_load(path.read_text())["_target_"] for path in CONFIGS.glob("optimizer/*")}
    assert targets >= SHIPPED_CLASSES.keys()


def write_images(folder):
    """Write 60 + 20 random images of 12 x 12 pixels in MNIST's format."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in idx.NAMES:
        count = 60 if name.startswith("train") else 20
        shape = (count, 12, 12) if "images" in name else (count,)
        values = generator.integers(0, 256 if "images" in name else 10, shape, dtype=np.uint8)
        header = np.array([0x800 + values.ndim, *shape], dtype=">u4")
        (folder / name).write_bytes(header.tobytes() + values.tobytes())
    return folder


@pytest.mark.parametrize(
    ("option", "folder", "used"),
    [
        ("data/mnist", "mnist", "mnist"),
        ("data/fashion_mnist", "fashion_mnist", "fashion_mnist"),
        ("data/idx", "mine", "idx"),
        ("data/mnist5k", None, "mnist5k"),
        ("data/mnist1d", None, "mnist1d"),
        ("data/austen", None, "austen"),
        ("data/auto", "mnist", "mnist"),
        ("data/auto", None, "mnist5k"),
    ],
)
def test_data_trains(option, folder, used, tmp_path):
    overrides = [option.replace("/", "=")]
    if folder is not None:
        write_images(tmp_path / folder)
    if used == "austen":
        overrides.append("model=charlm")
    if used == "idx":
        overrides.append(f"data.folder={tmp_path / folder}")
    composed = compose_train(overrides)
    data = composed.config.data
    dataset = load_dataset(data.name, folder=data.folder and Path(data.folder), data_dir=tmp_path)
    assert dataset.info.name == used
    assert (dataset.info.train == 50) == (folder is not None)
    assert bool(dataset.info.note) == (data.name == "auto" and folder is None)
    steps, norms = first_step(composed.with_data(used), dataset)
    assert np.isfinite(steps.loss).all()
    assert (norms > 0).all()


def test_no_data_is_left_out():
    (parameters,) = [mark for mark in test_data_trains.pytestmark if mark.name == "parametrize"]
    assert {option for option, *_ in parameters.args[1]} == (
        set(DATA_OPTIONS) - OF_THE_USER - OF_SCIKIT_LEARN
    )


def test_the_images_are_read_as_they_were_written(tmp_path):
    dataset = load_dataset("idx", folder=write_images(tmp_path / "mine"), val=0)
    assert dataset.train.inputs.shape == (60, 1, 12, 12)
    assert dataset.test.targets.dtype == torch.int64
