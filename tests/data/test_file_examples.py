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
    assert error.problem.startswith(f"All targets in the file are {label}.")
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
