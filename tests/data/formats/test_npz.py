"""Archives of NumPy arrays: which keys are read, as what, and what is refused."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from gradcli.data.formats import bounded
from gradcli.data.formats.npz import read_npz
from gradcli.errors import UserError

RANDOM = np.random.default_rng(3)
IMAGES = RANDOM.integers(0, 256, (6, 4, 5), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.npz"


def member(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def test_keras_mnist_npz(path):
    saved(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=LABELS[:2])
    parts = read_npz(path)
    assert parts.train.inputs.dtype == torch.uint8
    assert parts.train.inputs.shape == (6, 1, 4, 5)
    assert np.array_equal(parts.train.inputs[:, 0].numpy(), IMAGES)
    assert parts.train.targets.dtype == torch.int64
    assert parts.train.targets.tolist() == LABELS.tolist()
    assert np.array_equal(parts.test.inputs[:, 0].numpy(), IMAGES[:2])
    assert parts.val is None
    assert parts.train.classes is None


@pytest.mark.parametrize(
    "keys",
    [
        ("x", "y"),
        ("train_images", "train_labels"),
        ("train_inputs", "train_targets"),
        ("X_train", "Y_train"),
        ("data", "labels"),
        ("features_training", "targets_training"),
    ],
)
def test_other_keys(path, keys):
    saved(path, **dict(zip(keys, (IMAGES, LABELS), strict=True)), mean=np.zeros(()), x_y_z=LABELS)
    parts = read_npz(path)
    assert len(parts.train) == 6
    assert parts.val is None
    assert parts.test is None


def test_a_validation_part(path):
    saved(path, x=IMAGES, y=LABELS, valid_images=IMAGES[:1], valid_labels=LABELS[:1])
    assert len(read_npz(path).val) == 1


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ("u1", torch.uint8),
        ("?", torch.uint8),
        ("i1", torch.int8),
        (">i2", torch.int16),
        ("<i4", torch.int32),
        (">i8", torch.int64),
        ("<u2", torch.int32),
        (">u4", torch.int64),
        ("<u8", torch.int64),
        ("<f2", torch.float32),
        (">f4", torch.float32),
        ("<f8", torch.float32),
    ],
)
def test_element_types_and_orders(path, stored, read, compressed):
    values = RANDOM.integers(0, 2, (5, 3, 2)).astype(stored)
    save = np.savez_compressed if compressed else np.savez
    save(path, x=np.asfortranarray(values), y=np.arange(5))
    inputs = read_npz(path, channels="none").train.inputs
    assert inputs.dtype == read
    assert inputs.is_contiguous()
    assert inputs.tolist() == values.tolist()


def test_names_of_classes_become_sorted_indices(path):
    words = np.array(["dog", "cat", "dog"])
    saved(path, x=IMAGES[:3], y=words, x_test=IMAGES[:1], y_test=np.array([b"cat"]))
    parts = read_npz(path)
    assert parts.train.classes == parts.test.classes == ("cat", "dog")
    assert parts.train.targets.tolist() == [1, 0, 1]
    assert parts.test.targets.tolist() == [0]


def test_numbers_as_targets(path):
    saved(path, x=IMAGES[:3], y=np.array([[0.5, 1], [2, 3], [4, 5]]))
    targets = read_npz(path).train.targets
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[0.5, 1], [2, 3], [4, 5]]


def test_integer_targets_in_a_column_are_flattened(path):
    saved(path, x=IMAGES, y=LABELS[:, None])
    assert read_npz(path).train.targets.tolist() == LABELS.tolist()


def test_objects_are_refused_and_never_unpickled(path, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    saved(path, x=IMAGES[:1], y=np.array([Trap()], dtype=object))
    (tmp_path / "sprung").unlink(missing_ok=True)
    with pytest.raises(UserError, match="y holds Python objects, which are never loaded") as caught:
        read_npz(path)
    assert caught.value.where == str(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES, "y": LABELS[:5]}, "x has 6 examples, but y has 5"),
        ({"x": IMAGES}, "no train targets. Its keys are x"),
        ({"arr_0": IMAGES}, "no train inputs. Its keys are arr_0"),
        ({"x": IMAGES, "y": LABELS, "x_test": IMAGES}, "no test targets"),
        ({"x": IMAGES, "x_train": IMAGES, "y": LABELS}, "Both x and x_train could be"),
        ({"x": IMAGES, "y": np.array([0, 1, np.nan, 0, 1, 2])}, "y holds nan in example 2"),
        ({"x": np.full((6, 2), np.inf), "y": LABELS}, "x holds inf in example 0"),
        ({"x": np.full((6, 2), 1e39), "y": LABELS}, "x holds 1e\\+39 in example 0"),
        ({"x": np.full(6, 2**64 - 1, np.uint64), "y": LABELS}, "x holds 18446744073709551615"),
        ({"x": np.zeros(6, complex), "y": LABELS}, "x holds complex128; numbers or text"),
        ({"x": np.zeros(6, "M8[s]"), "y": LABELS}, "x holds datetime64"),
        ({"x": np.zeros(6, [("a", "f4")]), "y": LABELS}, "numbers or text were expected"),
        ({"x": np.array(["a"] * 6), "y": LABELS}, "x holds <U1, not numbers"),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0)}, r"x holds no examples: its shape is \(0, 3\)"),
        ({"x": np.zeros(()), "y": np.zeros(())}, r"x holds no examples: its shape is \(\)"),
        ({"x": IMAGES, "y": np.array([["a"]] * 6)}, "y is text of 2 axes"),
        ({"x": IMAGES, "y": np.array([b"\xff"] * 6)}, "y is not valid text"),
        (
            {"x": IMAGES, "y": LABELS, "x_test": IMAGES[:, :2], "y_test": LABELS},
            "test inputs are 1 x 2 x 5 of uint8 each, but the training inputs are 1 x 4 x 5",
        ),
        (
            {"x": IMAGES, "y": LABELS, "x_test": IMAGES, "y_test": LABELS * 0.5},
            "test targets are one value of float32 each, but .* are one value of int64",
        ),
        (
            {"x": IMAGES[:1], "y": ["cat"], "x_test": IMAGES[:1], "y_test": ["cta"]},
            "y_test has the class 'cta', which no training example has",
        ),
        (
            {"x": IMAGES[:1], "y": ["cat"], "x_test": IMAGES[:1], "y_test": [0]},
            "y_test holds numbers, but the training targets are names: cat",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_words(path, arrays, message):
    saved(path, **arrays)
    with pytest.raises(UserError, match=message) as caught:
        read_npz(path)
    assert caught.value.where == str(path)


def test_an_unknown_class_is_answered_with_the_nearest(path):
    saved(path, x=IMAGES[:2], y=["cat", "dog"], x_test=IMAGES[:1], y_test=["cta"])
    with pytest.raises(UserError) as caught:
        read_npz(path)
    assert caught.value.choices == ("cat",)


@pytest.mark.parametrize(
    ("shape", "channels", "read"),
    [
        ((2, 8, 9, 3), "auto", (2, 3, 8, 9)),
        ((2, 3, 8, 9), "auto", (2, 3, 8, 9)),
        ((2, 8, 9, 1), "auto", (2, 1, 8, 9)),
        ((2, 1, 1, 1), "auto", (2, 1, 1, 1)),
        ((2, 8, 9), "auto", (2, 1, 8, 9)),
        ((2, 3, 8, 3), "last", (2, 3, 3, 8)),
        ((2, 3, 8, 3), "first", (2, 3, 8, 3)),
        ((2, 8, 9, 3), "none", (2, 8, 9, 3)),
        ((2, 7), "auto", (2, 7)),
        ((2, 3, 4, 5, 6), "auto", (2, 3, 4, 5, 6)),
    ],
)
def test_where_channels_are(path, shape, channels, read):
    values = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    saved(path, x=values, y=np.zeros(2, int))
    inputs = read_npz(path, channels=channels).train.inputs
    assert inputs.shape == read
    if read != shape and len(shape) == 4:
        assert np.array_equal(inputs.numpy(), np.moveaxis(values, 3, 1))
    else:
        assert np.array_equal(inputs.numpy().ravel(), values.ravel())


def test_sequences_of_numbers_are_no_images(path):
    saved(path, x=np.zeros((2, 8, 9)), y=np.zeros(2, int))
    assert read_npz(path).train.inputs.shape == (2, 8, 9)


@pytest.mark.parametrize("shape", [(2, 3, 8, 3), (2, 8, 8, 8)])
def test_channels_that_cannot_be_told_are_asked_for(path, shape):
    saved(path, x=np.zeros(shape, np.uint8), y=np.zeros(2, int))
    with pytest.raises(UserError, match="does not tell where the channels are") as caught:
        read_npz(path)
    assert "data.channels=first or data.channels=last" in caught.value.hint


def with_header(shape, content, dtype="|u1"):
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize("shape", [(2**40,), (2**62, 2**62), (100,)])
def test_a_header_that_says_more_than_the_member_holds(path, shape):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", with_header(shape, bytes(10)))
        archive.writestr("y.npy", member(LABELS))
    with pytest.raises(UserError, match=r"header of x says .* bytes, but 10 follow it"):
        read_npz(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY\x01\x00", b"PK", with_header("(2, 5", bytes(10))]
)
def test_a_header_that_cannot_be_read(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content)
        archive.writestr("y.npy", member(LABELS))
    with pytest.raises(UserError, match="The header of x cannot be read"):
        read_npz(path)


def test_negative_lengths(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", with_header((-2, -5), bytes(10)))
        archive.writestr("y.npy", member(LABELS))
    with pytest.raises(UserError, match="x holds no examples"):
        read_npz(path)


def test_an_archive_that_would_not_fit_is_refused_before_it_is_unpacked(path, monkeypatch):
    monkeypatch.setattr(bounded, "MOST_BYTES", 2**20)
    np.savez_compressed(path, x=np.zeros((2, 2**20), np.uint8), y=np.zeros(2, int))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"x and y would take .* at most"):
            read_npz(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_size_that_the_directory_invents_takes_no_memory(path):
    """4 GiB are announced in the directory and in the header, and 40 bytes are there."""
    said = 2**32 - 2
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        content = with_header((said - 80,), b"")
        assert len(content) < 80
        content = content[:-1] + b" " * (80 - len(content)) + b"\n"
        content = content[:8] + struct.pack("<H", 70) + content[10:]
        archive.writestr("x.npy", content)
        archive.writestr("y.npy", member(LABELS))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", said)
    path.write_bytes(bytes(data))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"not a sound|ends after 0 of 4,294,967,214 bytes"):
            read_npz(path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_other_compressions_are_refused(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", member(IMAGES))
        archive.writestr("y.npy", member(LABELS))
    with pytest.raises(UserError, match="compressed by a method that NumPy does not write"):
        read_npz(path)


def test_a_changed_byte_is_seen_by_the_checksum(path):
    saved(path, x=IMAGES, y=LABELS)
    data = path.read_bytes()
    place = data.index(IMAGES.tobytes()) + 7
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(UserError, match=r"not a sound .npz archive: Bad CRC-32"):
        read_npz(path)


@pytest.mark.parametrize("content", [b"", b"PK", b"x,y\n1,2\n"])
def test_other_files(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"not a sound .npz archive"):
        read_npz(path)


def test_files_that_cannot_be_opened(path, tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_npz(path)
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_npz(tmp_path)


def test_a_single_array_and_a_truncated_archive_are_called_so(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((3, 2)))
    with pytest.raises(UserError, match=r"a single array \(\.npy\)") as caught:
        read_npz(tmp_path / "one.npy")
    assert "numpy.savez" in caught.value.hint
    np.savez(tmp_path / "whole.npz", x=np.zeros((300, 2)), y=np.zeros(300))
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="truncated"):
        read_npz(tmp_path / "half.npz")
