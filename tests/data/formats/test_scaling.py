"""Inputs and targets in deviations: the moments are the training examples' alone, and are told."""

import numpy as np
import pytest
import torch

from gradcli.data import load_dataset
from gradcli.data.file_sources import NpzFile, TableFile
from gradcli.data.formats.scaling import on_large_targets
from gradcli.errors import UserError

RANDOM = np.random.default_rng(1)
INPUTS = RANDOM.normal(size=(60, 3)) * [1, 50, 0] + [0, 900, 7]
PRICES = 2e5 + 3e4 * RANDOM.normal(size=60)


def load(source, **options):
    return load_dataset("mine", source=source, **options)


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return str(tmp_path / "mine.npz")

    return write


def moments(values):
    mean, deviation = values.double().numpy().mean(0), values.double().numpy().std(0)
    return mean, np.where(deviation == 0, 1, deviation)


def test_inputs_and_targets_are_scaled_by_what_the_training_part_holds(npz):
    path = npz(x=INPUTS, y=PRICES)
    raw = load(NpzFile(path))
    scaled = load(NpzFile(path, standardize=True, standardize_targets=True))
    for part in ("inputs", "targets"):
        mean, deviation = moments(getattr(raw.train, part))
        for name in ("train", "val", "test"):
            was = getattr(getattr(raw, name), part).double().numpy()
            now = getattr(getattr(scaled, name), part)
            assert now.dtype == torch.float32
            np.testing.assert_allclose(now, (was - mean) / deviation, atol=1e-5)
    assert scaled.info.sha256 != raw.info.sha256
    assert not np.allclose(scaled.test.inputs.mean(0)[:2], 0, atol=1e-3)


def test_a_file_without_validation_examples_is_scaled_by_all_that_train(npz):
    scaled = load(NpzFile(npz(x=INPUTS, y=PRICES), standardize=True), val=0)
    assert len(scaled.val) == 0
    assert len(scaled.train) == 50
    assert np.allclose(scaled.train.inputs.mean(0), 0, atol=1e-5)


def test_large_targets_are_remarked_on_and_so_are_scaled_ones(npz, tmp_path):
    path = npz(x=INPUTS, y=PRICES)
    [remark] = load(NpzFile(path)).remarks
    assert "The targets have mean 1.9e+05 and deviation 2.8e+04" in remark
    assert "data.standardize_targets=true" in remark
    [remark] = load(NpzFile(path, standardize_targets=True)).remarks
    assert "in deviations" in remark
    table = tmp_path / "houses.csv"
    rows = "".join(f"{a},{b:.1f}\n" for a, b in zip(INPUTS[:, 1], PRICES, strict=True))
    table.write_text(f"size,price\n{rows}")
    [remark] = load(TableFile(str(table), target="price")).remarks
    assert "data.standardize_targets=true" in remark
    scaled = load(TableFile(str(table), target="price", standardize_targets=True))
    mean, deviation = moments(scaled.train.targets)
    assert (mean, deviation) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))


@pytest.mark.parametrize(
    ("targets", "count"), [([0.0, 1.0, 2.0], 0), ([500.0, 501.0], 1), ([-190.0, 190.0], 1)]
)
def test_only_large_targets_are(targets, count):
    assert len(on_large_targets(torch.tensor(targets))) == count


def test_pixels_and_classes_are_not_standardised(npz):
    images = RANDOM.integers(0, 256, (60, 4, 4), dtype=np.uint8)
    with pytest.raises(UserError, match=r"images, which data\.normalize scales"):
        load(NpzFile(npz(x=images, y=np.arange(60) % 2), standardize=True))
    with pytest.raises(UserError, match="cross_entropy takes its targets as they are"):
        load(NpzFile(npz(x=INPUTS, y=np.arange(60) % 2), standardize_targets=True))
