"""Damaged files of every format: read, or answered in words; never another exception.

A mutation cuts the file, changes a few bytes, inserts some, or leaves some out. What is still read
must be sound: equally many inputs and targets, and only finite numbers.
"""

import gzip
import io

import numpy as np
import pytest
import torch

from gradcli.data.formats import (
    ExampleParts,
    TableChoice,
    read_idx_folder,
    read_image_folder,
    read_npz,
    read_tables,
    read_text,
)
from gradcli.errors import UserError

MUTATIONS = 200
RANDOM = np.random.default_rng(1)
VALUES = RANDOM.integers(0, 256, (12, 4, 5), dtype=np.uint8)
TEXT = "".join(f"{row},{row / 7:.3f},{'xyz'[row % 3]} ü,{row % 2}\n" for row in range(30))


def mutated(content, random):
    content = bytearray(content)
    place = int(random.integers(len(content)))
    garbage = random.integers(0, 256, int(random.integers(1, 5)), dtype=np.uint8).tobytes()
    match random.integers(4):
        case 0:
            del content[place:]
        case 1:
            content[place : place + len(garbage)] = garbage
        case 2:
            content[place:place] = garbage
        case 3:
            del content[place : place + len(garbage)]
    return bytes(content)


def arrays(save):
    file = io.BytesIO()
    save(file, x=VALUES / 7, y=np.array(["cat", "dog"] * 6))
    return file.getvalue()


def idx(values, code=8):
    return bytes([0, 0, code, values.ndim, *np.array(values.shape, ">u4").tobytes()]) + (
        values.tobytes()
    )


def image(kind, mode="RGB"):
    pillow = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    pillow.fromarray(np.kron(VALUES[0], np.ones((4, 4), np.uint8))).convert(mode).save(file, kind)
    return file.getvalue()


def parquet(**options):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    table = pyarrow.table(
        {
            "a": np.arange(50.0),
            "b": ["uvw"[row % 3] for row in range(50)],
            "c": np.arange(50),
            "y": [row % 2 for row in range(50)],
        }
    )
    pyarrow.parquet.write_table(table, file, **options)
    return file.getvalue()


def read_one_idx(path):
    (path.parent / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(12, dtype=np.uint8)))
    return read_idx_folder(path.parent)


def read_one_image(path):
    return read_image_folder(path.parent.parent)


def read_table(path):
    return read_tables(path, TableChoice("y", categorical=["b"]))


def read_characters(path):
    return read_text(path, level="character")


FORMATS = {
    "npz": ("data.npz", lambda: arrays(np.savez), read_npz),
    "npz deflated": ("data.npz", lambda: arrays(np.savez_compressed), read_npz),
    "idx": ("train-images-idx3-ubyte", lambda: idx(VALUES), read_one_idx),
    "idx of doubles": (
        "train-images-idx3-double",
        lambda: idx(VALUES.astype(">f8"), 14),
        read_one_idx,
    ),
    "idx gzipped": (
        "train-images-idx3-ubyte.gz",
        lambda: gzip.compress(idx(VALUES), mtime=0),
        read_one_idx,
    ),
    "csv": ("t.csv", lambda: ("a,c,b,y\n" + TEXT).encode(), read_table),
    "parquet": ("t.parquet", parquet, read_table),
    "parquet plain": (
        "t.parquet",
        lambda: parquet(compression="none", use_dictionary=False),
        read_table,
    ),
    "characters": ("t.txt", TEXT.encode, read_characters),
    "bytes": ("t.txt", TEXT.encode, read_text),
    **{
        kind: (f"a/{kind}", lambda kind=kind: image(kind), read_one_image)
        for kind in ("PNG", "JPEG", "BMP", "PPM", "TIFF", "WEBP")
    },
    "GIF": ("a/GIF", lambda: image("GIF", "P"), read_one_image),
}


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_answered_in_words(tmp_path, name):
    file, make, read = FORMATS[name]
    path, content = tmp_path / file, make()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert_sound(read(path))
    random = np.random.default_rng(MUTATIONS)
    refused = 0
    for _ in range(MUTATIONS):
        path.write_bytes(mutated(content, random))
        try:
            found = read(path)
        except UserError as error:
            assert error.problem.endswith(".")
            assert error.where
            refused += 1
        else:
            assert_sound(found)
    assert name == "bytes" or refused > MUTATIONS // 20


def assert_sound(found):
    if not isinstance(found, ExampleParts):
        for part in (found.train, found.val, found.test):
            assert found.vocabulary is None or int(part.max()) < len(found.vocabulary)
        return
    for part in (found.train, found.test):
        if part is not None:
            assert len(part.inputs) == len(part.targets) > 0
            assert torch.isfinite(part.inputs.float()).all()
            assert part.classes is None or int(part.targets.min()) >= 0
            assert part.classes is None or int(part.targets.max()) < len(part.classes)
