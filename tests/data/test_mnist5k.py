"""The bundled files against what they were made from."""

import gzip
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from gradcli.data import idx
from gradcli.data.sources import SAMPLE_FOLDER

ROOT = Path(__file__).parents[2]


def read(folder: Path, name: str, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress((folder / f"{name}.gz").read_bytes())[header:], np.uint8)


@pytest.fixture
def full_mnist():
    """The folder of the gzipped files of all of MNIST that the sample was made from."""
    data = Path(os.environ.get("GRADCLI_DATA", ROOT.parent / "shared" / "data"))
    if not (data / "mnist" / f"{idx.NAMES[0]}.gz").is_file():
        pytest.skip(f"all of MNIST is not at hand in {data / 'mnist'}")
    return data / "mnist"


def test_the_sample_is_the_first_500_training_images_of_each_digit(full_mnist):
    images = read(full_mnist, idx.NAMES[0], 16).reshape(-1, 28, 28)
    labels = read(full_mnist, idx.NAMES[1], 8)
    chosen = {digit: np.flatnonzero(labels == digit)[:500] for digit in range(10)}
    for part, image_name, label_name in (
        (slice(0, 450), *idx.NAMES[:2]),
        (slice(450, 500), *idx.NAMES[2:]),
    ):
        expected = np.sort(np.concatenate([indices[part] for indices in chosen.values()]))
        sample = read(SAMPLE_FOLDER, image_name, 16).reshape(-1, 28, 28)
        assert np.array_equal(sample, images[expected])
        assert np.array_equal(read(SAMPLE_FOLDER, label_name, 8), labels[expected])


def test_the_maker_makes_the_bundled_files(full_mnist, tmp_path, monkeypatch):
    path = ROOT / "tools" / "make_mnist5k.py"
    specification = importlib.util.spec_from_file_location("make_mnist5k", path)
    maker = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(maker)
    monkeypatch.setattr("sys.argv", ["make_mnist5k", str(full_mnist), str(tmp_path)])
    maker.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}.gz" for name in idx.NAMES
    )
    for path in tmp_path.iterdir():
        # Compressors differ from machine to machine; what they compress must not.
        bundled = (SAMPLE_FOLDER / path.name).read_bytes()
        assert gzip.decompress(path.read_bytes()) == gzip.decompress(bundled)


def test_the_sample_is_small_and_says_where_it_is_from():
    files = list(SAMPLE_FOLDER.iterdir())
    assert {path.name for path in files} == {f"{name}.gz" for name in idx.NAMES} | {"PROVENANCE.md"}
    assert sum(path.stat().st_size for path in files) < 1_100_000
    provenance = (SAMPLE_FOLDER / "PROVENANCE.md").read_text(encoding="utf-8")
    assert "CC BY-SA 3.0" in provenance
