import gzip
import struct

import numpy as np
import pytest

from gradcli.data import idx
from gradcli.errors import UserError

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = idx.NAMES


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_is_read_as_it_was_written(tiny, tmp_path, zipped):
    train, test = idx.read_folder(tiny.write(tmp_path, zipped=zipped))
    assert np.array_equal(train.images.numpy(), tiny.train_images[:, None])
    assert np.array_equal(train.labels.numpy(), tiny.train_labels)
    assert np.array_equal(test.images.numpy(), tiny.test_images[:, None])
    assert np.array_equal(test.labels.numpy(), tiny.test_labels)


def test_plain_and_gzipped_files_may_be_mixed(tiny, tmp_path):
    tiny.write(tmp_path, zipped=True)
    (tmp_path / f"{IMAGES}.gz").unlink()
    (tmp_path / IMAGES).write_bytes(tiny.contents()[IMAGES])
    train, _ = idx.read_folder(tmp_path)
    assert np.array_equal(train.images.numpy()[:, 0], tiny.train_images)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="no such folder") as caught:
        idx.read_folder(tmp_path / "nowhere")
    assert caught.value.where == str(tmp_path / "nowhere")


@pytest.mark.parametrize("name", idx.NAMES)
def test_a_missing_file_is_named(tiny, tmp_path, name):
    (tiny.write(tmp_path) / name).unlink()
    with pytest.raises(UserError, match=f"{name} .* is missing") as caught:
        idx.read_folder(tmp_path)
    assert caught.value.where == str(tmp_path)


def wrong_magic(content):
    return b"\x00\x00\x0d" + content[3:]


def too_short(content):
    return content[:-1]


def too_long(content):
    return content + b"\x00"


def header_only_in_part(content):
    return content[:7]


def empty(content):
    return b""


@pytest.mark.parametrize("name", [IMAGES, TEST_LABELS])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (wrong_magic, "begins with 00000d0[13], expected 0000080[13]"),
        (empty, "begins with nothing"),
        (too_short, "its header says"),
        (too_long, "its header says"),
        (header_only_in_part, "ends in its header, after 7 of"),
    ],
)
def test_a_broken_file_is_named_with_what_was_expected(tiny, tmp_path, name, damage, message):
    path = tiny.write(tmp_path) / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message) as caught:
        idx.read_folder(tmp_path)
    assert caught.value.where == str(path)


def test_the_expected_length_is_stated(tiny, tmp_path):
    path = tiny.write(tmp_path) / IMAGES
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"1,215 bytes.* 60 x 5 x 4 values, 1,216 bytes in all"):
        idx.read_folder(tmp_path)


@pytest.mark.parametrize("damage", [too_short, lambda content: content[:30], wrong_magic, empty])
def test_a_broken_gzip_file_is_named(tiny, tmp_path, damage):
    path = tiny.write(tmp_path, zipped=True) / f"{IMAGES}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError) as caught:
        idx.read_folder(tmp_path)
    assert caught.value.where == str(path)


def test_labels_that_do_not_fit_the_images_are_refused(tiny, tmp_path):
    tiny.train_labels = tiny.train_labels[:-1]
    with pytest.raises(UserError, match="There are 59 labels, but 60 images") as caught:
        idx.read_folder(tiny.write(tmp_path))
    assert caught.value.where == str(tmp_path / LABELS)


def test_test_images_of_another_size_are_refused(tiny, tmp_path):
    tiny.test_images = tiny.test_images[:, :, :3]
    with pytest.raises(UserError, match="5 x 3 pixels, but the training images have 5 x 4"):
        idx.read_folder(tiny.write(tmp_path))


def test_a_set_without_images_is_refused(tiny, tmp_path):
    tiny.test_images, tiny.test_labels = tiny.test_images[:0], tiny.test_labels[:0]
    with pytest.raises(UserError, match="holds no images") as caught:
        idx.read_folder(tiny.write(tmp_path))
    assert caught.value.where == str(tmp_path / TEST_IMAGES)


def test_a_file_of_another_number_of_dimensions_is_refused(tiny, tmp_path):
    path = tiny.write(tmp_path, zipped=True) / f"{LABELS}.gz"
    path.write_bytes(gzip.compress(struct.pack(">III", 0x802, 60, 1) + bytes(60)))
    with pytest.raises(UserError, match="in 1 dimension"):
        idx.read_folder(tmp_path)
