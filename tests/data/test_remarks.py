"""What is said about a data set before a training: planted oddities, and silence without any."""

import re
from dataclasses import replace

import pytest
import torch

from gradcli.data import Split, load_dataset, split_dataset
from gradcli.data.remarks import remarks_on
from gradcli.errors import UserError


def dataset(labels, test_labels=(0, 1, 2), highest=255, name="own"):
    """Images of random pixels from 0 to `highest`, with these labels; no validation split."""

    def split(values):
        values = torch.as_tensor(values)
        generator = torch.Generator().manual_seed(0)
        shape = (len(values), 1, 4, 3)
        pixels = torch.randint(0, highest + 1, shape, generator=generator, dtype=torch.uint8)
        return Split(pixels, values)

    return split_dataset(split(labels), split(test_labels), name=name, val=0)


PLAIN = [0, 1, 2] * 20


@pytest.mark.parametrize("normalize", ["mean_std", "0-1"])
def test_nothing_is_said_about_usual_data(normalize):
    assert remarks_on(load_dataset("mnist5k"), normalize) == []
    assert remarks_on(dataset(PLAIN), normalize) == []


def test_labels_that_begin_at_1():
    (remark,) = remarks_on(dataset([1, 2, 3] * 20, [1, 2, 3]), "mean_std")
    assert remark == (
        "The labels begin at 1, not at 0, so that the model has an output that no example needs. "
        "Subtract 1 from the labels."
    )


def test_a_first_class_that_only_the_test_has_is_an_empty_one():
    (remark,) = remarks_on(dataset([1, 2] * 20, [0, 1, 2]), "mean_std")
    assert "1 of 3 classes has no training example: 0." in remark
    assert "1 of 3 test examples wrong" in remark


def test_classes_without_a_training_example():
    (remark,) = remarks_on(dataset([0, 1, 4] * 20, [0, 3, 3, 4]), "mean_std")
    assert remark == (
        "2 of 5 classes have no training example: 2, 3. The model cannot learn them, and gets 2 of "
        "4 test examples wrong."
    )


def test_many_empty_classes_are_not_all_named():
    (remark,) = remarks_on(dataset([0, 100], [0, 100]), "mean_std")
    assert remark == (
        "99 of 101 classes have no training example: 1, 2, 3, 4, 5, 6, 7, 8 and 91 more. The model "
        "cannot learn them."
    )


def test_labels_that_begin_later_and_have_a_gap():
    begin, gap = remarks_on(dataset([2, 4] * 20, [2, 4]), "mean_std")
    assert "begin at 2, not at 0, so that the model has 2 outputs" in begin
    assert "1 of 5 classes has no training example: 3." in gap


def test_a_single_class_is_refused():
    with pytest.raises(UserError, match="nothing to learn: the loss is 0") as caught:
        remarks_on(dataset([0] * 20, [0, 0]), "mean_std")
    assert caught.value.where == "data=own"


@pytest.mark.parametrize("label", [0, 2])
def test_a_single_class_in_training_only(label):
    (remark,) = remarks_on(dataset([label] * 20), "mean_std")
    assert f"All 20 training examples have the label {label}" in remark


def test_numbers_that_are_not_classes_are_refused():
    with pytest.raises(UserError, match="go up to 1,999,999, but only 60 different") as caught:
        remarks_on(dataset([*range(59), 1_999_999], [0]), "mean_std")
    assert caught.value.hint == "labels from 0 to 59"


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_label_without_an_output_is_refused(split):
    made = dataset(PLAIN)
    wrong = Split(made.test.inputs, torch.tensor([0, 1, 3]))
    with pytest.raises(UserError, match="is 3, but there are 3 classes"):
        remarks_on(replace(made, **{split: wrong}), "mean_std")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (torch.tensor([0.0, 1.0, 2.0]), "labels must be int64 .n., not float32"),
        (torch.tensor([-1, 0, 1]), "labels count from 0, and one is -1"),
        (torch.tensor([[1, 0], [0, 1], [1, 0]]), "labels must be int64"),
    ],
)
def test_labels_of_another_kind_are_refused_however_the_data_set_was_made(labels, says):
    made = dataset(PLAIN)
    wrong = replace(made, train=Split(made.test.inputs, labels))
    with pytest.raises(UserError, match=says):
        remarks_on(wrong, "mean_std")
    with pytest.raises(UserError, match=says):
        split_dataset(wrong.train, made.test, name="own")


@pytest.mark.parametrize(
    ("highest", "normalize", "says"),
    [
        (255, "none", "not scaled: they go from 0 to 255 .* try data.normalize=mean_std"),
        (16, "none", "not scaled: they go from 0 to 16"),
        (1, "0-1", "at most 0.0039: the pixels go up to 1 only, .* try data.normalize=mean_std"),
        (0, "mean_std", "All pixels of the training images are equal"),
    ],
)
def test_inputs_out_of_scale(highest, normalize, says):
    (remark,) = remarks_on(dataset(PLAIN, highest=highest), normalize)
    assert re.search(says, remark)


@pytest.mark.parametrize(
    ("highest", "normalize"), [(1, "none"), (1, "mean_std"), (16, "mean_std"), (255, "0-1")]
)
def test_inputs_in_scale(highest, normalize):
    assert remarks_on(dataset(PLAIN, highest=highest), normalize) == []
