"""The data sets that are the user's own files: what becomes of what the files hold."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gradcli.data import load_dataset
from gradcli.data.file_sources import IdxArrays, ImageFolder, NpzFile, TableFile, TextFile
from gradcli.data.remarks import remarks_on
from gradcli.data.sources import Auto, Mnist5k
from gradcli.errors import UserError

RANDOM = np.random.default_rng(0)


def load(source, **options):
    return load_dataset("mine", source=source, **options)


def rows_of(*splits):
    """The examples of some splits, in a fixed order."""
    return sorted(tuple(row) for split in splits for row in split.inputs.flatten(1).tolist())


# Files that are not there -------------------------------------------------------------------------


@pytest.mark.parametrize("source", [NpzFile, TableFile, TextFile])
def test_a_file_that_is_not_there_comes_with_those_like_it(tmp_path, source):
    (tmp_path / "mine.npz").touch()
    with pytest.raises(UserError, match=r"There is no .*mien\.npz") as caught:
        load(source(str(tmp_path / "mien.npz")))
    assert caught.value.hint == f"data.path={tmp_path / 'mine.npz'}"


# Arrays -------------------------------------------------------------------------------------------


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return str(tmp_path / "mine.npz")

    return write


def test_colour_images_stay_bytes_and_are_normalised_by_the_training_part(npz):
    images, labels = RANDOM.integers(0, 256, (60, 4, 5, 3), dtype=np.uint8), np.arange(60) % 3
    dataset = load(NpzFile(npz(x=images, y=labels)))
    assert (dataset.info.name, dataset.info.shape, dataset.info.classes) == ("mine", (3, 4, 5), 3)
    sizes = tuple(map(len, (dataset.train, dataset.val, dataset.test)))
    assert sizes == (42, 8, 10)  # the test takes a sixth, and validation a sixth of the rest
    assert dataset.train.inputs.dtype == torch.uint8
    assert dataset.objective.name == "cross_entropy"
    pixels = dataset.train.inputs.numpy() / 255
    assert dataset.mean == pytest.approx(pixels.mean())
    assert dataset.std == pytest.approx(pixels.std())
    expected = sorted(tuple(one) for one in images.transpose(0, 3, 1, 2).reshape(60, -1).tolist())
    assert rows_of(dataset.train, dataset.val, dataset.test) == expected


@pytest.mark.parametrize(
    ("targets", "loss", "says"),
    [
        (np.arange(36.0) % 2, "auto", "data.loss=bce_with_logits"),
        (np.arange(36.0) % 3, "auto", "Save classes as integers."),
        (np.arange(36.0), "auto", None),
        (np.arange(36.0) % 2 + 0.5, "auto", None),
        (np.arange(36.0) % 2, "mse", None),
        (np.arange(36) % 2, "auto", None),
    ],
)
def test_whole_numbers_of_floating_point_are_numbers_and_said_to_be(npz, targets, loss, says):
    dataset = load(NpzFile(npz(x=RANDOM.normal(size=(36, 2)), y=targets), loss=loss))
    assert dataset.objective.name == ("cross_entropy" if targets.dtype.kind == "i" else "mse")
    remarks = remarks_on(dataset, "none")
    assert len(remarks) == (says is not None)
    assert not remarks or says in remarks[0]


def test_parts_of_the_file_stay_apart(npz):
    train, val, test = (RANDOM.integers(0, 256, (n, 4, 4), dtype=np.uint8) for n in (30, 7, 9))
    arrays = {"x_train": train, "x_val": val, "x_test": test}
    labels = {f"y_{key[2:]}": np.arange(len(value)) % 3 for key, value in arrays.items()}
    dataset = load(NpzFile(npz(**arrays, **labels)))
    for split, images in ((dataset.train, train), (dataset.val, val), (dataset.test, test)):
        assert rows_of(split) == sorted(tuple(one) for one in images.reshape(-1, 16).tolist())
    assert dataset.mean == pytest.approx(train.mean() / 255)
    with pytest.raises(UserError, match="validation examples of its own") as caught:
        load(NpzFile(npz(**arrays, **labels)), val=3)
    assert caught.value.where == "data.val"


def test_numbers_as_targets_make_a_regression(npz):
    inputs, targets = RANDOM.normal(size=(36, 5)), RANDOM.normal(size=(36, 2))
    dataset = load(NpzFile(npz(x=inputs, y=targets)))
    assert (dataset.objective.name, dataset.outputs, dataset.info.classes) == ("mse", 2, 0)
    assert math.isnan(dataset.target_score)
    assert not dataset.has_pixels
    assert dataset.train.inputs.dtype == torch.float32
    held = np.float32(inputs).tolist()
    assert rows_of(dataset.train, dataset.val, dataset.test) == sorted(map(tuple, held))
    where = [held.index(row) for row in dataset.train.inputs.tolist()]
    assert np.array_equal(dataset.train.targets.numpy(), np.float32(targets[where]))


@pytest.mark.parametrize(
    ("targets", "loss", "used", "outputs"),
    [
        (np.arange(36) % 4, "auto", "cross_entropy", 4),
        (np.arange(36) % 4, "nll", "nll", 4),
        (np.arange(36) % 4, "mse", "mse", 1),
        (np.arange(36) % 2, "bce_with_logits", "bce_with_logits", 1),
        (np.arange(72).reshape(36, 2) % 2, "bce_with_logits", "bce_with_logits", 2),
        (np.array(["yes", "no"] * 18), "bce_with_logits", "bce_with_logits", 1),
        (np.linspace(0, 1, 36), "l1", "l1", 1),
    ],
)
def test_the_loss_that_is_used_takes_the_outputs_and_the_targets(npz, targets, loss, used, outputs):
    dataset = load(NpzFile(npz(x=RANDOM.normal(size=(36, 3)), y=targets), loss=loss))
    assert (dataset.objective.name, dataset.outputs) == (used, outputs)
    logits = torch.zeros(len(dataset.train), outputs)
    assert dataset.objective.loss(logits, dataset.train.targets).isfinite()
    assert dataset.objective.score(logits, dataset.train.targets).shape == (len(dataset.train),)


@pytest.mark.parametrize(
    ("targets", "loss", "message"),
    [
        (np.linspace(0, 1, 36), "cross_entropy", r"float32 of shape \(36,\)"),
        (np.arange(36) - 1, "auto", "from 0 for each example; one is -1"),
        (np.arange(36) % 3, "bce_with_logits", "from 0 to 1; these go from 0 to 2"),
        (np.array(["a", "b"] * 18), "mse", "these are classes: a, b"),
        (np.arange(72).reshape(36, 2), "auto", r"int64 of shape \(36, 2\)"),
    ],
)
def test_targets_that_do_not_go_with_the_loss_are_refused(npz, targets, loss, message):
    path = npz(x=RANDOM.normal(size=(36, 3)), y=targets)
    with pytest.raises(UserError, match=message) as caught:
        load(NpzFile(path, loss=loss))
    assert caught.value.where == path
    assert caught.value.hint.startswith("data.loss=")


def test_images_with_numbers_as_targets_are_scaled(npz):
    images = RANDOM.integers(0, 256, (36, 4, 4), dtype=np.uint8)
    dataset = load(NpzFile(npz(x=images, y=np.linspace(0, 1, 36))))
    pixels = np.concatenate(
        [one.inputs.numpy() for one in (dataset.train, dataset.val, dataset.test)]
    )
    assert np.array_equal(np.sort(pixels.ravel()), np.sort(np.float32(images / 255).ravel()))


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_no_validation_split(npz, kind):
    images = RANDOM.integers(0, 256, (36, 4, 4)).astype(kind)
    dataset = load(NpzFile(npz(x=images, y=np.arange(36) % 3)), val=0)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (30, 0, 6)
    with pytest.raises(UserError, match="cannot be taken") as caught:
        load(NpzFile(npz(x=images, y=np.arange(36) % 3)), val=30)
    assert caught.value.where == "data.val"


def test_a_folder_of_idx_files_of_any_shape(tmp_path):
    inputs = RANDOM.normal(size=(30, 2, 3)).astype(">f4")
    header = bytes([0, 0, 0x0D, 3]) + np.array(inputs.shape, dtype=">u4").tobytes()
    (tmp_path / "train-inputs-idx3-float").write_bytes(header + inputs.tobytes())
    header = bytes([0, 0, 0x08, 1]) + np.array([30], dtype=">u4").tobytes()
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(header + bytes([0, 1] * 15))
    dataset = load(IdxArrays(), folder=tmp_path)
    assert (dataset.info.shape, dataset.info.classes) == ((2, 3), 2)
    expected = sorted(map(tuple, inputs.reshape(30, 6).astype("f4").tolist()))
    assert rows_of(dataset.train, dataset.val, dataset.test) == expected


# Images -------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for index in range(24):
        folder = tmp_path / "pictures" / ("cat", "dog")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((4, 6, 3), index * 10, dtype=np.uint8)
        image.fromarray(pixels).save(folder / f"{index}.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
def test_a_folder_of_images(pictures, mode, channels):
    dataset = load(ImageFolder(mode=mode), folder=pictures)
    assert dataset.info.shape == (channels, 4, 6)
    for split in (dataset.train, dataset.val, dataset.test):
        index = split.inputs[:, 0, 0, 0] // 10
        assert torch.equal(index % 2, split.targets.to(index.dtype))
    assert dataset.has_pixels


def test_images_are_resized(pictures):
    assert load(ImageFolder(size=[2, 3]), folder=pictures).info.shape == (3, 2, 3)


# Tables -------------------------------------------------------------------------------------------


@pytest.fixture
def csv(tmp_path):
    def write(text, name="mine.csv"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def table(rows, header="height,weight,kind"):
    return "\n".join((header, *(",".join(map(str, row)) for row in rows))) + "\n"


def people(count=60):
    return [
        (
            round(float(RANDOM.normal(170, 10)), 3),
            round(float(RANDOM.normal(70, 5)), 3),
            "abc"[i % 3],
        )
        for i in range(count)
    ]


def test_inputs_are_standardised_by_the_training_part(csv):
    rows = people()
    dataset = load(TableFile(csv(table(rows)), target="kind"))
    raw = load(TableFile(csv(table(rows)), target="kind", standardize=False))
    inputs = raw.train.inputs.numpy().astype(np.float64)
    for split, before in ((dataset.train, raw.train), (dataset.test, raw.test)):
        expected = (before.inputs.numpy() - inputs.mean(axis=0)) / inputs.std(axis=0)
        np.testing.assert_allclose(split.inputs.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert rows_of(raw.train, raw.val, raw.test) == sorted(
        tuple(map(float, np.float32(row[:2]))) for row in rows
    )
    # Of each class a sixth is held out for the test, and of the rest a sixth for validation.
    assert dataset.test.targets.bincount().tolist() == [4, 3, 3]
    assert dataset.val.targets.bincount().max() - dataset.val.targets.bincount().min() <= 1


def test_a_constant_column_becomes_zero(csv):
    rows = [(5, one, kind) for one, _, kind in people()]
    dataset = load(TableFile(csv(table(rows)), target="kind"))
    assert (dataset.train.inputs[:, 0] == 0).all()


def test_a_missing_number_is_the_mean_of_the_training_rows(csv):
    rows = [(value, index, index % 2) for index, (value, *_) in enumerate(people())]
    rows = [("" if index % 5 == 0 else value, index, kind) for value, index, kind in rows]
    dataset = load(TableFile(csv(table(rows)), target="kind", missing="mean", standardize=False))
    training = dataset.train.inputs[:, 1].long().tolist()
    known = [rows[index][0] for index in training if rows[index][0] != ""]
    for split in (dataset.train, dataset.val, dataset.test):
        absent = split.inputs[:, 1] % 5 == 0
        assert split.inputs[absent, 0].tolist() == pytest.approx(
            [np.mean(known)] * int(absent.sum())
        )
        assert not torch.isin(split.inputs[~absent, 0], torch.tensor(np.mean(known))).any()


def test_a_category_that_occurs_once_may_be_in_any_part(csv):
    rows = [(index, f"v{index}", index % 2) for index in range(24)]
    source = TableFile(csv(table(rows)), target="kind", categorical=["weight"], standardize=False)
    dataset = load(source)
    assert dataset.info.shape == (25,)
    assert all((split.inputs[:, 1:].sum(dim=1) == 1).all() for split in (dataset.val, dataset.test))


def test_other_files_are_read_as_the_training_rows_say(csv):
    rows, others = people(30), [(180, 80, "c"), (160, 60, "a")]
    paths = {"val_path": csv(table(others), "v.csv"), "test_path": csv(table(others), "t.csv")}
    dataset = load(TableFile(csv(table(rows)), target="kind", **paths))
    inputs = np.array([row[:2] for row in rows])
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (30, 2, 2)
    expected = (np.array([[180, 80], [160, 60]]) - inputs.mean(axis=0)) / inputs.std(axis=0)
    np.testing.assert_allclose(dataset.test.inputs.numpy(), expected, rtol=1e-4)
    assert dataset.val.targets.tolist() == [2, 0]
    with pytest.raises(UserError, match="validation examples of its own"):
        load(TableFile(csv(table(rows)), target="kind", **paths), val=2)


def test_no_validation_rows(csv):
    dataset = load(TableFile(csv(table(people())), target="kind"), val=0)
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (50, 0, 10)


@pytest.mark.parametrize(
    ("loss", "kind", "used", "dtype"),
    [
        ("auto", None, "cross_entropy", torch.int64),
        ("mse", None, "mse", torch.float32),
        ("auto", "numbers", "mse", torch.float32),
        ("l1", "numbers", "l1", torch.float32),
    ],
)
def test_whole_numbers_are_classes_or_numbers(csv, loss, kind, used, dtype):
    rows = [(a, b, 5 + index % 3) for index, (a, b, _) in enumerate(people())]
    dataset = load(TableFile(csv(table(rows)), target=-1, loss=loss, target_kind=kind))
    assert (dataset.objective.name, dataset.train.targets.dtype) == (used, dtype)
    lowest = 0 if used == "cross_entropy" else 5
    assert dataset.train.targets.unique().tolist() == [lowest, lowest + 1, lowest + 2]


def test_what_was_decided_is_among_the_remarks(csv):
    rows = [(a, b, 12_000 + 3_500 * index) for index, (a, b, _) in enumerate(people())]
    dataset = load(TableFile(csv(table(rows)), target=-1))
    assert dataset.objective.name == "mse"
    decided, large = remarks_on(dataset, "none")
    assert "data.target_kind=classes" in decided
    assert remarks_on(load(TableFile(csv(table(rows)), target=-1, loss="mse")), "none") == [large]


def test_the_target_must_be_named(csv):
    with pytest.raises(UserError, match="needs the column") as caught:
        load(TableFile(csv(table(people()))))
    assert caught.value.where == "data.target"
    assert "kind" in caught.value.choices


# Texts --------------------------------------------------------------------------------------------


@pytest.fixture
def text(tmp_path):
    def write(content):
        path = tmp_path / "mine.txt"
        path.write_bytes(content)
        return str(path)

    return write


def test_the_windows_of_a_text(text):
    content = bytes(range(200))
    dataset = load(TextFile(text(content), length=8))
    assert (dataset.outputs, dataset.output_shape) == (256, (8, 256))
    assert (dataset.info.shape, dataset.info.classes) == ((8,), 0)
    assert dataset.objective.name == "next_token"
    assert dataset.train.inputs.dtype == dataset.train.targets.dtype == torch.int64
    parts = ((dataset.train, 0, 160), (dataset.val, 160, 180), (dataset.test, 180, 200))
    for split, begin, end in parts:
        starts = range(begin, end - 8, 8)
        assert split.inputs.tolist() == [list(range(one, one + 8)) for one in starts]
        assert torch.equal(split.targets, split.inputs + 1)
        assert split.targets.max() < end  # nothing of the next part is seen


@pytest.mark.parametrize("stride", [1, 3, 8, 11])
def test_the_stride_of_the_windows(text, stride):
    inputs = load(TextFile(text(bytes(range(200))), length=8, stride=stride)).train.inputs
    assert inputs[:, 0].tolist() == list(range(0, 160 - 8, stride))


def test_characters_are_indices_into_the_vocabulary_of_the_text(text):
    content = "ßea" * 60
    dataset = load(TextFile(text(content.encode()), level="character", length=5))
    assert dataset.outputs == 3
    assert dataset.train.inputs[0].tolist() == ["aeß".index(one) for one in "ßeaße"]


def test_a_text_may_have_no_validation_part(text):
    dataset = load(TextFile(text(bytes(range(200))), length=8, val_fraction=0))
    assert (len(dataset.train), len(dataset.val), len(dataset.test)) == (22, 0, 2)


@pytest.mark.parametrize(
    ("source", "options", "message", "where"),
    [
        ({"length": 0}, {}, "data.length is 0", "data.length"),
        ({"stride": 0}, {}, "data.stride is 0", "data.stride"),
        ({"length": 20}, {}, "validation text has 20 tokens; an example takes 21", None),
        ({"test_fraction": 0.0}, {}, "left for the test", "data.test_fraction"),
        ({"val_fraction": 2.0}, {}, "not a fraction", "data.val_fraction"),
        ({}, {"val": 5}, "divided by data.val_fraction", "data.val"),
        ({}, {"folder": Path("x")}, "read data.folder", "data.folder"),
    ],
)
def test_what_a_text_cannot_be_cut_by(text, source, options, message, where):
    path = text(bytes(range(200)))
    with pytest.raises(UserError, match=message) as caught:
        load(TextFile(path, **source), **options)
    assert caught.value.where == (where or path)


# All of them --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("npz", "path"),
        ("arrays", "folder"),
        ("images", "folder"),
        ("table", "path"),
        ("text", "path"),
    ],
)
def test_each_says_which_key_names_the_files(name, key):
    with pytest.raises(UserError, match=f"needs data.{key}") as caught:
        load_dataset(name)
    assert caught.value.where == f"data.{key}"
    assert caught.value.hint.startswith(f"data.{key}=")


def test_a_missing_library_is_answered_with_the_line_that_installs_it(pictures, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UserError, match="needs Pillow") as caught:
        load(ImageFolder(), folder=pictures)
    assert caught.value.hint == "pip install 'gradcli[images]'"


def test_a_missing_library_for_parquet(tmp_path, monkeypatch):
    (tmp_path / "mine.parquet").write_bytes(b"PAR1" + bytes(8) + b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="needs pyarrow") as caught:
        load(TableFile(str(tmp_path / "mine.parquet"), target="y"))
    assert caught.value.hint == "pip install 'gradcli[tables]'"


def test_each_load_gives_the_same(npz):
    path = npz(x=RANDOM.normal(size=(36, 3)), y=RANDOM.normal(size=36))
    first, second = load(NpzFile(path)), load(NpzFile(path))
    assert first.info == second.info
    assert torch.equal(first.train.inputs, second.train.inputs)


def test_a_shipped_data_set_may_have_another_name():
    assert load_dataset("digits", source=Mnist5k()).info.name == "digits"


def test_auto_is_called_by_what_it_finds():
    with pytest.raises(UserError, match="called by what it finds") as caught:
        load_dataset("digits", source=Auto())
    assert caught.value.where == "data.name"
