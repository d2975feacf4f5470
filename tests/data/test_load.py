import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gradcli.data import load_dataset
from gradcli.data.downloads import failures, torchvision_mnist
from gradcli.data.load import SHIPPED
from gradcli.data.sources import FashionMnist
from gradcli.errors import UserError


@pytest.fixture
def load(tmp_path):
    """`load_dataset` with its own folders and no mirror to download from."""

    def load(name, **options):
        paths = {"data_dir": tmp_path / "data", "cache_dir": tmp_path / "cache", "mirrors": []}
        return load_dataset(name, **{**paths, **options})

    return load


@pytest.fixture
def published(server, monkeypatch):
    """A local server that torchvision takes for MNIST's."""
    resources = [(file, server.md5(file)) for file in server.files]
    datasets = torchvision_mnist.import_datasets()
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    return server


def test_the_sample_is_split_evenly_by_digit(load):
    data = load("mnist5k")
    assert (data.info.name, data.info.note) == ("mnist5k", "")
    assert (data.info.shape, data.info.classes) == ((1, 28, 28), 10)
    for split, of_each in ((data.train, 400), (data.val, 50), (data.test, 50)):
        assert torch.bincount(split.targets).tolist() == [of_each] * 10
    assert data.train.inputs.shape == (4000, 1, 28, 28)
    assert data.train.inputs.dtype == torch.uint8
    assert data.train.targets.dtype == torch.int64


def test_the_sample_holds_digits_that_can_be_told_apart(load):
    data = load("mnist5k")
    pixels = data.train.inputs.flatten(1).double()
    means = torch.stack([pixels[data.train.targets == digit].mean(0) for digit in range(10)])
    guesses = torch.cdist(data.test.inputs.flatten(1).double(), means).argmin(1)
    assert (guesses == data.test.targets).double().mean() > 0.75


def test_the_same_examples_come_every_time(load, tmp_path):
    first, again = load("mnist5k"), load("mnist5k", cache_dir=tmp_path / "another")
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert torch.equal(first.val.targets, again.val.targets)
    assert first.info == again.info


@pytest.mark.parametrize("place", ["mnist", "MNIST/raw", "."])
@pytest.mark.parametrize("name", ["auto", "mnist"])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_at_hand_is_used_without_a_download(load, tiny, tmp_path, name, place, zipped):
    tiny.write(tmp_path / "data" / place, zipped=zipped)
    data = load(name)
    assert (data.info.name, data.info.note) == ("mnist", "")
    assert (len(data.train), len(data.val), len(data.test)) == (50, 10, 20)
    assert np.array_equal(data.test.inputs[:, 0], tiny.test_images)


@pytest.mark.parametrize("place", ["fashion_mnist", "FashionMNIST/raw", "."])
def test_fashion_mnist_at_hand_is_used_without_a_download(load, tiny, tmp_path, place):
    tiny.write(tmp_path / "data" / place)
    data = load("fashion_mnist", val=0)
    assert (data.info.name, len(data.train), len(data.val)) == ("fashion_mnist", 60, 0)


def test_fashion_mnist_of_the_system_comes_before_a_download(load, tiny, tmp_path, monkeypatch):
    system = tiny.write(tmp_path / "usr" / "share" / "datasets" / "fashion-mnist", zipped=True)
    assert FashionMnist.system_folder == Path("/usr/share/datasets/fashion-mnist")
    monkeypatch.setattr(FashionMnist, "system_folder", system)
    assert np.array_equal(load("fashion_mnist").test.inputs[:, 0], tiny.test_images)
    tiny.test_images = 255 - tiny.test_images
    tiny.write(tmp_path / "data" / "fashion_mnist")
    assert np.array_equal(load("fashion_mnist").test.inputs[:, 0], tiny.test_images)


def test_the_data_folder_is_only_read(load, tiny, tmp_path):
    folder = tiny.write(tmp_path / "data" / "mnist")
    before = {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")}
    load("mnist")
    assert {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*")} == before


def test_without_a_data_folder_the_cache_folder_is_searched(load, tiny, tmp_path):
    tiny.write(tmp_path / "cache" / "data" / "mnist")
    assert load("mnist", data_dir=None).info.name == "mnist"


def test_a_folder_of_any_idx_files_can_be_trained_on(load, tiny, tmp_path):
    data = load("idx", folder=tiny.write(tmp_path / "mine"))
    assert (data.info.name, data.info.shape, data.info.classes) == ("idx", (1, 5, 4), 3)
    assert (len(data.train), len(data.val)) == (50, 10)


def test_a_folder_of_the_users_that_lacks_a_file_is_not_passed_over(load, tiny, tmp_path):
    folder = tiny.write(tmp_path / "data" / "mnist")
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte .* is missing") as caught:
        load("auto")
    assert caught.value.where == str(folder)


def test_a_complete_folder_wins_over_an_incomplete_one(load, tiny, tmp_path):
    (tiny.write(tmp_path / "data") / "t10k-labels-idx1-ubyte").unlink()
    tiny.write(tmp_path / "data" / "MNIST" / "raw")
    assert load("auto").info.name == "mnist"


@pytest.mark.parametrize(
    ("name", "options", "message", "where"),
    [
        ("fashion", {}, "no data set named 'fashion'", "data.name"),
        ("idx", {}, "needs the folder", "data.folder"),
        (
            "mnist",
            {"folder": Path("somewhere")},
            "Only data=idx, .* read data.folder",
            "data.folder",
        ),
        ("mnist5k", {"val": 4500}, "split of 4500 cannot be taken from 4500", "data.val"),
    ],
)
def test_what_cannot_be_meant_is_refused(load, name, options, message, where):
    with pytest.raises(UserError, match=message) as caught:
        load(name, **options)
    assert caught.value.where == where


def test_a_misspelt_name_is_answered_with_the_nearest(load):
    with pytest.raises(UserError) as caught:
        load("mnist_fashion")
    assert "fashion_mnist" in caught.value.choices
    assert set(caught.value.choices) <= set(SHIPPED)


def test_mnist_is_downloaded_once(load, published, tiny):
    mirrors = [published.mirror("unavailable"), published.mirror("good")]
    first = load("mnist", mirrors=mirrors)
    assert len(published.requests) == 8  # four files, each asked of both mirrors
    again = load("mnist", mirrors=mirrors)
    assert len(published.requests) == 8
    assert first.info == again.info
    assert np.array_equal(first.test.inputs[:, 0], tiny.test_images)


def test_unavailable_mnist_is_an_error_that_names_the_mirrors(load, published, tmp_path):
    mirrors = [published.mirror("unavailable"), published.mirror("truncated")]
    with pytest.raises(UserError, match="mnist is not on the disk") as e:
        load("mnist", mirrors=mirrors)
    assert f"{mirrors[0]}train-images-idx3-ubyte.gz: HTTP status 503" in e.value.problem
    assert f"{mirrors[1]}train-images-idx3-ubyte.gz: truncated" in e.value.problem
    assert e.value.where == str(tmp_path / "data")
    assert "data=mnist5k" in e.value.hint
    assert e.value.exit_code == 2


@pytest.mark.parametrize("behaviour", ["silent", "stalling", "altered"])
def test_auto_falls_back_on_the_sample_and_says_why(load, published, monkeypatch, behaviour):
    if behaviour != "altered":
        for name in ("PATIENCE", "LEAST_PATIENCE"):
            monkeypatch.setattr(torchvision_mnist, name, 0.2)
    data = load("auto", mirrors=[published.mirror(behaviour)])
    assert (data.info.name, data.info.train) == ("mnist5k", 4000)
    reason = "wrong checksum" if behaviour == "altered" else "time-out after waiting 0.2 s"
    assert data.info.note.startswith("MNIST is not on the disk and could not be downloaded (")
    assert reason in data.info.note
    assert "bundled sample of 5,000 digits is used" in data.info.note
    assert "data=mnist" in data.info.note
    assert data.info.sha256 == load("mnist5k").info.sha256


def test_a_failure_is_remembered_for_an_hour(load, published, monkeypatch):
    bad, good = [published.mirror("unavailable")], [published.mirror("good")]
    first = load("auto", mirrors=bad)
    asked = len(published.requests)
    assert asked == 1
    again = load("auto", mirrors=good)
    assert len(published.requests) == asked
    assert again.info == first.info

    now = time.time()
    monkeypatch.setattr(failures.time, "time", lambda: now + 3601)
    assert load("auto", mirrors=good).info.name == "mnist"


def test_asking_for_mnist_itself_tries_again_at_once(load, published, tmp_path):
    load("auto", mirrors=[published.mirror("unavailable")])
    assert failures.recent("mnist", tmp_path / "cache") is not None
    assert load("mnist", mirrors=[published.mirror("good")]).info.name == "mnist"
    assert failures.recent("mnist", tmp_path / "cache") is None


def test_a_cache_folder_that_cannot_be_made_stops_nothing(load, published, tmp_path):
    (tmp_path / "file").write_text("in the way")
    blocked = {
        "cache_dir": tmp_path / "file" / "cache",
        "mirrors": [published.mirror("unavailable")],
    }
    assert load("mnist5k", **blocked).info.train == 4000
    assert load("auto", **blocked).info.name == "mnist5k"
    blocked["mirrors"] = [published.mirror("good")]
    assert load("mnist", **blocked).info.name == "mnist"
