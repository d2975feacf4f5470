import hashlib

import numpy as np
import pytest
import torch

from gradcli.data import DataSource, load_dataset
from gradcli.data.dataset import Split, prepare, split_dataset, split_off, stratified_order
from gradcli.errors import UserError


@pytest.fixture
def source(tiny):
    def split(images, labels):
        return Split(
            torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels.astype(np.int64))
        )

    return prepare(
        split(tiny.train_images, tiny.train_labels), split(tiny.test_images, tiny.test_labels)
    )


def as_set(split):
    pairs = zip(split.inputs, split.targets, strict=True)
    return {(image.numpy().tobytes(), int(label)) for image, label in pairs}


@pytest.mark.parametrize("val", [0, 10, 59])
def test_train_and_val_share_nothing_and_miss_nothing(source, tiny, val):
    data = split_off(source, val, name="idx")
    everything = {
        (image.tobytes(), int(label))
        for image, label in zip(tiny.train_images, tiny.train_labels, strict=True)
    }
    assert (len(data.train), len(data.val), len(data.test)) == (60 - val, val, 20)
    assert (data.info.train, data.info.val, data.info.test) == (60 - val, val, 20)
    assert as_set(data.train) | as_set(data.val) == everything
    assert not as_set(data.train) & as_set(data.val)
    assert np.array_equal(data.test.inputs.numpy()[:, 0], tiny.test_images)


@pytest.mark.parametrize("val", [10, 20, 30])
def test_the_validation_split_holds_every_class_in_proportion(source, tiny, val):
    held_out = split_off(source, val, name="idx").val
    share = np.bincount(tiny.train_labels) * val / 60
    assert np.all(np.abs(np.bincount(held_out.targets, minlength=3) - share) <= 1)


def test_the_order_shuffles_within_classes_and_is_always_the_same():
    labels = torch.arange(10).repeat_interleave(40)
    order = stratified_order(labels)
    assert sorted(order.tolist()) == list(range(400))
    assert np.bincount(labels[order[-100:]]).tolist() == [10] * 10
    of_first_class = order[labels[order] == 0].tolist()
    assert of_first_class != sorted(of_first_class)
    # Written down, so that no release of NumPy or torch moves an example between splits.
    digest = hashlib.sha256(order.numpy().astype("<i8").tobytes()).hexdigest()
    assert digest == "874aa07b3eef604c4d55ab4b563a30db15e0d1f11cf72b53abdbf605e07432f9"


@pytest.mark.parametrize("val", [0, 7, 30])
def test_mean_and_std_are_those_of_the_training_pixels_alone(source, val):
    data = split_off(source, val, name="idx")
    pixels = data.train.inputs.numpy().astype(np.float64) / 255
    assert data.mean == pytest.approx(pixels.mean(), rel=1e-12)
    assert data.std == pytest.approx(pixels.std(), rel=1e-12)


def test_images_that_are_all_alike_have_no_deviation():
    split = Split(torch.full((4, 1, 2, 2), 200, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))
    data = split_off(prepare(split, split), 0, name="idx")
    assert (data.mean, data.std) == (pytest.approx(200 / 255), 0.0)


@pytest.mark.parametrize("val", [-1, 60, 10_000])
def test_a_validation_split_that_leaves_nothing_is_refused(source, val):
    with pytest.raises(UserError, match=f"split of {val} cannot be taken from 60") as caught:
        split_off(source, val, name="idx")
    assert caught.value.where == "data.val"
    assert "59" in caught.value.hint


def test_the_info_describes_the_data(source):
    info = split_off(source, 10, name="idx", note="why").info
    assert (info.name, info.shape, info.classes, info.note) == ("idx", (1, 5, 4), 3, "why")


def test_the_fingerprint_changes_with_every_part_of_the_data(source):
    def fingerprint(train, test, val):
        return split_off(prepare(train, test), val, name="idx").info.sha256

    def altered(split, field):
        changed = {"inputs": split.inputs.clone(), "targets": split.targets.clone()}
        changed[field].view(-1)[0] ^= 1
        return Split(**changed)

    train, test = source.train, source.test
    # The same bytes in another shape are other images.
    reshaped = [Split(part.inputs.view(-1, 1, 4, 5), part.targets) for part in (train, test)]
    fingerprints = [
        fingerprint(train, test, 10),
        fingerprint(train, test, 11),
        fingerprint(altered(train, "inputs"), test, 10),
        fingerprint(altered(train, "targets"), test, 10),
        fingerprint(train, altered(test, "inputs"), 10),
        fingerprint(train, altered(test, "targets"), 10),
        fingerprint(*reshaped, 10),
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    assert fingerprint(train, test, 10) == fingerprints[0]


def test_the_fingerprint_is_of_the_values_however_they_are_stored():
    labels = torch.arange(12) % 3
    views = Split((80 * labels).byte().view(-1, 1, 1, 1).expand(-1, 1, 2, 2), labels)
    copies = Split(views.inputs.contiguous(), labels)
    assert prepare(views, views[:3]).sha256 == prepare(copies, copies[:3]).sha256


_IMAGES = torch.zeros((6, 1, 2, 2), dtype=torch.uint8)
_LABELS = torch.arange(6) % 2


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (
            _IMAGES.float(),
            _LABELS,
            r"images must be uint8 \(n, channels, height, width\), not float32",
        ),
        (_IMAGES[:, 0], _LABELS, r"not uint8 of shape \(6, 2, 2\)"),
        (_IMAGES.tolist(), _LABELS, "not a list"),
        (_IMAGES, _LABELS.int(), r"labels must be int64 \(n\), not int32"),
        (_IMAGES, _LABELS[:5], "there are 6 images and 5 labels"),
        (_IMAGES, _LABELS - 1, "labels count from 0, and one is -1"),
        (_IMAGES[:0], _LABELS[:0], "there are none"),
    ],
)
def test_examples_that_cannot_be_used_are_refused_in_words(images, labels, says):
    good, bad = Split(_IMAGES, _LABELS), Split(images, labels)
    with pytest.raises(UserError, match=f"training examples of mine.*{says}"):
        split_dataset(bad, good, name="mine")
    with pytest.raises(UserError, match=f"test examples of mine.*{says}"):
        split_dataset(good, bad, name="mine")


def test_images_of_two_shapes_are_refused():
    wide = Split(torch.zeros((6, 1, 2, 3), dtype=torch.uint8), _LABELS)
    with pytest.raises(UserError, match=r"\(1, 2, 2\) in training, \(1, 2, 3\) in test"):
        split_dataset(Split(_IMAGES, _LABELS), wide, name="mine")


def test_a_source_that_returns_something_else_is_named():
    class Forgetful(DataSource):
        def load(self, request):
            return None

    with pytest.raises(UserError, match=r"Forgetful.load returned a NoneType, not a Dataset"):
        load_dataset("mine", source=Forgetful())
