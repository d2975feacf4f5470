"""From the examples of files to a data set, or to an error in words that fit the file."""

import numpy as np
import pytest

from gradcli.data import load_dataset
from gradcli.data.file_sources import ImageFolder, NpzFile, TableFile, TextFile
from gradcli.errors import UserError

RANDOM = np.random.default_rng(3)
INPUTS = RANDOM.normal(size=(36, 3))


def refused(source, **options):
    with pytest.raises(UserError) as caught:
        load_dataset("mine", source=source, **options)
    return caught.value


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "mine.npz", **arrays)
        return str(tmp_path / "mine.npz")

    return write


@pytest.mark.parametrize(
    ("targets", "label"), [([0] * 36, "0"), ([7] * 36, "7"), (["yes"] * 36, "'yes'")]
)
def test_one_class_of_an_archive_is_refused_by_its_label(npz, targets, label):
    error = refused(NpzFile(npz(x=INPUTS, y=np.array(targets))))
    assert error.problem.startswith(f"All targets are {label}.")
    assert error.where.endswith("mine.npz")


def test_one_class_of_a_table_is_refused_by_its_column(tmp_path):
    (tmp_path / "t.csv").write_text("a,won\n" + "".join(f"{i},yes\n" for i in range(40)))
    error = refused(TableFile(str(tmp_path / "t.csv"), target="won"))
    assert error.problem.startswith("The target 'won' is 'yes' in all rows.")
    assert error.where.endswith("t.csv")


def test_one_class_of_images_is_refused_by_its_folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "cat").mkdir()
    for index in range(12):
        image.new("L", (4, 4), index).save(tmp_path / "cat" / f"{index}.png")
    error = refused(ImageFolder(), folder=tmp_path)
    assert error.problem.startswith("All images are in the folder 'cat'.")
    assert error.where == str(tmp_path)


@pytest.mark.parametrize("level", ["byte", "character"])
def test_a_text_of_one_token_is_refused(tmp_path, level):
    (tmp_path / "x.txt").write_text("a" * 5000)
    error = refused(TextFile(str(tmp_path / "x.txt"), level=level))
    assert "nothing but 'a'" in error.problem
    assert error.where.endswith("x.txt")


def test_a_single_number_per_example_is_an_input_of_one_column(npz):
    dataset = load_dataset("mine", source=NpzFile(npz(x=INPUTS[:, 0], y=np.arange(36) % 2)))
    assert dataset.info.shape == (1,)
    assert dataset.train.inputs.shape == (len(dataset.train), 1)


def test_a_few_examples_are_told_how_that_file_names_its_parts(npz, tmp_path):
    error = refused(NpzFile(npz(x=INPUTS[:3], y=np.arange(3) % 2)))
    assert "3 training examples" in error.problem
    assert "x_val, y_val, x_test and y_test" in error.hint
    (tmp_path / "t.csv").write_text("a,won\n1,yes\n2,no\n3,yes\n")
    error = refused(TableFile(str(tmp_path / "t.csv"), target="won"))
    assert "data.val_path=FILE and data.test_path=FILE" in error.hint
    parts = {
        f"{kind}_{part}": value
        for part in ("train", "val", "test")
        for kind, value in (("x", INPUTS[:3]), ("y", np.arange(3) % 2))
    }
    assert len(load_dataset("mine", source=NpzFile(npz(**parts))).train) == 3


@pytest.mark.parametrize("wrong", [{"loss": "mse"}, {"target_kind": "numbers"}])
def test_names_are_no_numbers_and_the_remedy_for_that_runs(tmp_path, wrong):
    (tmp_path / "t.csv").write_text("a,won\n" + "1,yes\n2,no\n" * 20)
    error = refused(TableFile(str(tmp_path / "t.csv"), target="won", **wrong))
    remedy = dict(word.removeprefix("data.").split("=") for word in error.hint.split())
    source = TableFile(str(tmp_path / "t.csv"), target="won", **{**wrong, **remedy})
    assert load_dataset("mine", source=source).objective.name == "cross_entropy"
