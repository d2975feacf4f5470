"""Which row or file each training example was, whatever was held out or shuffled."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gradcli.data.file_sources import ImageFolder, NpzFile, TableFile
from gradcli.data.load import load_dataset

PICTURES = Path(__file__).parents[1] / "fixtures" / "problems" / "pictures"


@pytest.mark.parametrize("val", [None, 0, 5])
@pytest.mark.parametrize("kind", ["bytes", "numbers", "regression"])
@pytest.mark.parametrize("own", [(), ("test",), ("val",), ("test", "val")])
def test_rows_of_arrays(own, kind, val, tmp_path):
    if "val" in own and val is not None:
        return  # refused
    random = np.random.default_rng(0)
    shape = (60, 4, 4) if kind == "bytes" else (60, 6)
    x = random.integers(0, 256, shape).astype(np.uint8 if kind == "bytes" else np.float32)
    y = random.normal(size=60).astype(np.float32) if kind == "regression" else np.arange(60) % 3
    parts = {f"{name}_{part}": value[:9] for part in own for name, value in (("x", x), ("y", y))}
    np.savez(tmp_path / "some.npz", x_train=x, y_train=y, **parts)
    data = load_dataset("npz", source=NpzFile(str(tmp_path / "some.npz")), val=val)
    rows = data.names.rows
    assert len(rows) == len(data.train)
    assert torch.equal(data.train.inputs.flatten(1), torch.from_numpy(x)[rows].flatten(1))
    assert torch.equal(data.train.targets, torch.from_numpy(y)[rows])


@pytest.mark.parametrize("val", [None, 0, 5])
def test_rows_of_a_table(val, tmp_path):
    table = np.random.default_rng(0).normal(size=(60, 3))
    path = tmp_path / "some.csv"
    path.write_text("a,b,c\n" + "\n".join(",".join(map(repr, row)) for row in table.tolist()))
    source = TableFile(str(path), target="c", standardize=False)
    data = load_dataset("table", source=source, val=val)
    assert data.names.columns == ("a", "b")
    found = np.column_stack([data.train.inputs, data.train.targets])
    assert found == pytest.approx(table[data.names.rows], rel=1e-6)


def test_files_of_images():
    pil = pytest.importorskip("PIL.Image")
    data = load_dataset("images", source=ImageFolder(), folder=PICTURES)
    for image, label, row in zip(
        data.train.inputs, data.train.targets, data.names.rows, strict=True
    ):
        path = Path(data.names.files[row])
        assert path.parent.name == data.names.classes[label]
        assert np.array_equal(image.permute(1, 2, 0), np.asarray(pil.open(path).convert("RGB")))
