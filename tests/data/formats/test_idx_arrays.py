"""IDX files of every element type and of any shape."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
import torch

from gradcli.data import idx
from gradcli.data.formats.idx_arrays import TYPES, read_idx, read_idx_folder
from gradcli.errors import UserError

RANDOM = np.random.default_rng(5)


def idx_bytes(values, code=8):
    head = bytes([0, 0, code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(TYPES[code]).tobytes()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("shape", [(7,), (3, 2), (2, 3, 4, 3), (2, 1, 2, 1, 2, 1)])
@pytest.mark.parametrize(
    ("code", "read"),
    [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")],
)
def test_types_and_shapes(tmp_path, code, read, shape, zipped):
    values = RANDOM.integers(0, 100, shape).astype(read)
    content = idx_bytes(values, code)
    path = tmp_path / ("a.gz" if zipped else "a")
    path.write_bytes(gzip.compress(content) if zipped else content)
    found = read_idx(path)
    assert found.dtype == np.dtype(read)
    assert found.dtype.isnative
    assert np.array_equal(found, values)


def test_big_endian_values_by_hand(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes.fromhex("00000b01 00000002 0102 fffe"))
    assert read_idx(path).tolist() == [258, -2]


def test_mnist_is_read_as_by_the_reader_of_its_four_files(tmp_path):
    images = RANDOM.integers(0, 256, (6, 4, 5), dtype=np.uint8)
    labels = np.arange(6, dtype=np.uint8) % 3
    for name, values in zip(idx.NAMES, (images, labels) * 2, strict=True):
        (tmp_path / name).write_bytes(idx_bytes(values))
    parts = read_idx_folder(tmp_path)
    for split, part in zip(idx.read_folder(tmp_path), (parts.train, parts.test), strict=True):
        assert torch.equal(split.inputs, part.inputs)
        assert torch.equal(split.targets, part.targets)


def test_colour_images(tmp_path):
    images = RANDOM.integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    (tmp_path / "train-images-idx4-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(6)))
    (tmp_path / "README").write_text("about")
    parts = read_idx_folder(tmp_path)
    assert np.array_equal(parts.train.inputs.numpy(), images.transpose(0, 3, 1, 2))
    assert parts.test is None


def test_numbers_as_targets_in_all_parts(tmp_path):
    for part in ("train", "val", "test"):
        values = RANDOM.normal(size=(4, 2))
        (tmp_path / f"{part}-inputs.idx2-double").write_bytes(idx_bytes(values, 14))
        (tmp_path / f"{part}-targets-idx2-float").write_bytes(idx_bytes(values, 13))
    parts = read_idx_folder(tmp_path)
    for one in (parts.train, parts.val, parts.test):
        assert one.targets.dtype == torch.float32
        assert torch.equal(one.inputs, one.targets)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG....", "not an IDX file: it begins with 89504e47"),
        (bytes.fromhex("00000a01 00000001 00"), "not an IDX file"),
        (bytes.fromhex("00000803 00000001 0000"), "ends in its header, after 10 of 16 bytes"),
        (bytes.fromhex("00000801 00000003 0000"), "says 3 values of uint8, 3 bytes, but 2 follow"),
        (bytes.fromhex("00000801 00000001 0000"), "1 bytes, but more follow"),
        (bytes.fromhex("00000c01 00000001 0000"), "1 values of int32, 4 bytes, but 2 follow"),
        (bytes.fromhex("00000801 00000000"), r"holds no examples: its shape is \(0\)"),
        (bytes.fromhex("00000800 00"), r"holds no examples: its shape is \(\)"),
        (bytes([0, 0, 8, 40]) + bytes([0, 0, 0, 1]) * 40 + b"\0", "has 40 axes; at most 32"),
        (bytes.fromhex("00000802") + b"\xff" * 8 + bytes(9), "would take .* GiB of memory"),
    ],
)
def test_damage_is_told_with_the_file(tmp_path, content, message):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_idx(path)
    assert caught.value.where == str(path)


def test_a_cut_gzip_file(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.arange(50)))[:-9])
    with pytest.raises(UserError, match="not a complete gzip file"):
        read_idx(path)


@pytest.mark.parametrize("zipped", [False, True])
def test_no_memory_is_taken_for_what_a_small_file_cannot_hold(tmp_path, zipped):
    content = bytes.fromhex("00000801 7fffffff") + bytes(100)
    path = tmp_path / ("a.gz" if zipped else "a")
    path.write_bytes(gzip.compress(content) if zipped else content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="2,147,483,647 bytes, but 100 follow"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_idx(tmp_path)


def test_folders_that_lack_something(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        read_idx_folder(tmp_path / "absent")
    with pytest.raises(UserError, match="no file of the train inputs") as caught:
        read_idx_folder(tmp_path)
    assert "train-images-idxN-TYPE" in caught.value.hint
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(UserError, match="no file of the train targets"):
        read_idx_folder(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"")
    with pytest.raises(UserError, match="could be the train inputs"):
        read_idx_folder(tmp_path)


def test_lengths_that_differ(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((3, 2, 2))))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(2)))
    with pytest.raises(
        UserError, match="train-images-idx3-ubyte has 3 examples, but train-labels-idx1-ubyte has 2"
    ):
        read_idx_folder(tmp_path)
