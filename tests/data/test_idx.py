import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from gradcli.data import idx
from gradcli.errors import UserError

IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = idx.NAMES


@pytest.mark.parametrize("zipped", [False, True])
def test_a_folder_is_read_as_it_was_written(tiny, tmp_path, zipped):
    train, test = idx.read_folder(tiny.write(tmp_path, zipped=zipped))
    assert np.array_equal(train.inputs.numpy(), tiny.train_images[:, None])
    assert np.array_equal(train.targets.numpy(), tiny.train_labels)
    assert np.array_equal(test.inputs.numpy(), tiny.test_images[:, None])
    assert np.array_equal(test.targets.numpy(), tiny.test_labels)


def test_plain_and_gzipped_files_may_be_mixed(tiny, tmp_path):
    tiny.write(tmp_path, zipped=True)
    (tmp_path / f"{IMAGES}.gz").unlink()
    (tmp_path / IMAGES).write_bytes(tiny.contents()[IMAGES])
    train, _ = idx.read_folder(tmp_path)
    assert np.array_equal(train.inputs.numpy()[:, 0], tiny.train_images)


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
        (too_short, "header says .* bytes, but [0-9,]+ follow"),
        (too_long, "header says .* but more follow"),
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
    with pytest.raises(UserError, match="60 x 5 x 4 values of uint8, 1,200 bytes, but 1,199"):
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
    with pytest.raises(UserError, match=r"holds no examples: its shape is \(0, 5, 4\)") as caught:
        idx.read_folder(tiny.write(tmp_path))
    assert caught.value.where == str(tmp_path / TEST_IMAGES)


def test_a_file_of_another_number_of_dimensions_is_refused(tiny, tmp_path):
    path = tiny.write(tmp_path, zipped=True) / f"{LABELS}.gz"
    path.write_bytes(gzip.compress(struct.pack(">III", 0x802, 60, 1) + bytes(60)))
    with pytest.raises(UserError, match="in 1 dimension"):
        idx.read_folder(tmp_path)


def dotted(name):
    return name.replace("-idx", ".idx")


LAYOUTS = {
    "the name within the .gz": dotted,
    "a folder that holds the file": lambda name: f"{name}/{name}",
    "a folder that holds the name within the .gz": lambda name: f"{name}/{dotted(name)}",
    "a folder with a dot": lambda name: f"{dotted(name)}/{dotted(name)}",
}


def write_as(folder, layout, contents):
    for name, content in contents.items():
        path = folder / layout(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_are_read_under_the_names_that_unpacking_gives_them(tiny, tmp_path, layout):
    write_as(tmp_path, LAYOUTS[layout], tiny.contents())
    train, test = idx.read_folder(tmp_path)
    assert np.array_equal(train.inputs.numpy()[:, 0], tiny.train_images)
    assert np.array_equal(test.targets.numpy(), tiny.test_labels)


def test_a_gzipped_file_may_have_the_dot_too(tiny, tmp_path):
    contents = {f"{dotted(name)}.gz": gzip.compress(c) for name, c in tiny.contents().items()}
    write_as(tmp_path, str, contents)
    assert len(idx.present(tmp_path)) == 4


def test_two_equal_files_may_be_one_of_the_four(tiny, tmp_path):
    # One archive holds the files under both names.
    for layout in list(LAYOUTS.values())[:3]:
        write_as(tmp_path, layout, tiny.contents())
    train, _ = idx.read_folder(tmp_path)
    assert np.array_equal(train.inputs.numpy()[:, 0], tiny.train_images)


def test_two_different_files_may_not(tiny, tmp_path):
    for layout in list(LAYOUTS.values())[:2]:
        write_as(tmp_path, layout, tiny.contents())
    (tmp_path / dotted(LABELS)).write_bytes(b"other")
    with pytest.raises(UserError, match="could be train-labels-idx1-ubyte, and they differ"):
        idx.read_folder(tmp_path)


def test_the_usual_name_comes_before_all_others(tiny, tmp_path):
    tiny.write(tmp_path)
    (tmp_path / dotted(LABELS)).write_bytes(b"other")
    assert idx.locate(tmp_path)[1] == tmp_path / LABELS


def test_a_folder_without_the_files_is_described(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.png").touch()
    with pytest.raises(
        UserError, match=r"The folder holds 0.png, 1.png, .* and 2 more\."
    ) as caught:
        idx.locate(tmp_path)
    assert "must hold all of" in caught.value.hint
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="The folder is empty"):
        idx.locate(empty)


@pytest.mark.parametrize("below", ["mnist", "MNIST/raw"])
def test_a_folder_below_that_holds_them_is_suggested(tiny, tmp_path, below):
    tiny.write(tmp_path / below)
    with pytest.raises(UserError, match="is missing") as caught:
        idx.locate(tmp_path)
    assert caught.value.hint == f"data.folder={tmp_path / below}"


@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_no_more_is_unpacked_than_the_header_announces(tiny, tmp_path, name):
    path = tiny.write(tmp_path, zipped=True) / f"{name}.gz"
    bomb = tiny.contents()[name] + bytes(2**28)
    path.write_bytes(gzip.compress(bomb, compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"header says .* bytes, but more follow"):
            idx.read_folder(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("zipped", [False, True])
def test_no_memory_is_taken_for_what_a_small_file_cannot_hold(tiny, tmp_path, zipped):
    path = tiny.write(tmp_path, zipped=zipped) / (f"{IMAGES}.gz" if zipped else IMAGES)
    content = struct.pack(">4I", 0x803, 2**15, 2**8, 2**8) + bytes(100)
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(UserError, match=r"32,768 x 256 x 256 .* bytes, but 100 follow"):
        idx.read_folder(tmp_path)
