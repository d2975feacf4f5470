"""Real imports of torchvision, which are slow: as few of them as will do."""

import subprocess
import sys

import numpy as np
import pytest

from gradcli.data.downloads import torchvision_mnist
from gradcli.data.downloads.download import DownloadError
from gradcli.data.downloads.torchvision_mnist import download, import_datasets, raw_folder

CLASSES = ("MNIST", "FashionMNIST")


@pytest.fixture
def published(server, monkeypatch):
    """Make torchvision expect the files that the local server has."""
    resources = [(file, server.md5(file)) for file in server.files]
    for name in CLASSES:
        monkeypatch.setattr(getattr(import_datasets(), name), "resources", resources)
    return server


@pytest.mark.parametrize("name", CLASSES)
def test_a_download_leaves_the_folder_as_torchvision_keeps_it(published, tiny, tmp_path, name):
    urls = [published.mirror("unavailable"), published.mirror("good")]
    steps = []
    download(name, tmp_path, mirrors=urls, progress=steps.append)
    assert {step.file for step in steps} == set(published.files)

    dataset_class = getattr(import_datasets(), name)
    assert np.array_equal(dataset_class(tmp_path, train=True).data, tiny.train_images)
    assert np.array_equal(dataset_class(tmp_path, train=False).targets, tiny.test_labels)
    assert list(tmp_path.iterdir()) == [raw_folder(name, tmp_path).parent]


def test_a_failed_download_leaves_nothing_behind(published, tmp_path):
    # The first three files are good: it is the last that spoils it.
    last = list(published.files)[-1]
    published.files[last] = b"altered"
    with pytest.raises(DownloadError, match=f"good/{last}: wrong checksum"):
        download("MNIST", tmp_path, mirrors=[published.mirror("good")])
    assert len(published.requests) == 4
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_download_is_completed(published, tmp_path):
    partial = raw_folder("MNIST", tmp_path)
    partial.mkdir(parents=True)
    (partial / "train-images-idx3-ubyte").write_bytes(b"torn")
    download("MNIST", tmp_path, mirrors=[published.mirror("good")])
    assert len(import_datasets().MNIST(tmp_path).data) == 60


def test_a_data_folder_that_cannot_be_written_to_is_reported(published, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match="file cannot be written to: "):
        download("MNIST", tmp_path / "file", mirrors=[published.mirror("good")])
    assert published.requests == []


def test_a_broken_torchvision_is_reported(tmp_path, monkeypatch):
    def broken():
        raise ImportError("No module named 'torchvision'")

    monkeypatch.setattr(torchvision_mnist, "import_datasets", broken)
    with pytest.raises(DownloadError, match="torchvision cannot be imported: No module"):
        download("MNIST", tmp_path)


def test_the_mirrors_share_the_patience_that_the_import_leaves(monkeypatch, tmp_path):
    given = []

    def fetch(file, md5, mirrors, folder, progress):
        given.extend(mirror.seconds for mirror in mirrors)
        raise DownloadError("enough")

    monkeypatch.setattr(torchvision_mnist, "fetch", fetch)
    import_datasets()
    with pytest.raises(DownloadError, match="enough"):
        download("MNIST", tmp_path)
    assert len(given) == len(import_datasets().MNIST.mirrors) >= 2
    assert torchvision_mnist.LEAST_PATIENCE <= sum(given) <= torchvision_mnist.PATIENCE


def test_torchvision_waits_for_a_download_and_bears_operators_that_are_there(tmp_path):
    """They are there with a matching pair; otherwise they are declared before, in its place."""
    program = """
import sys
from pathlib import Path
from gradcli.data import load_dataset
from gradcli.data.downloads import torchvision_mnist
from gradcli.extras import torchvision_import
load_dataset("mnist5k", cache_dir=Path(sys.argv[1]))
print("torchvision" in sys.modules)

import importlib.util
import torch
folder = Path(importlib.util.find_spec("torchvision").origin).parent
try:
    torch.ops.load_library(next(folder.glob("_C*.so")))
except OSError:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
print(torchvision_mnist.import_datasets().MNIST.__name__, len(torchvision_import._declarations))
"""
    # In its own process: modules and operators stay loaded.
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert result.stdout == "False\nMNIST 0\n"
