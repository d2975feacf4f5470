"""Folders of images by class: layout, conversion, and images that cannot be used."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
import torch

from gradcli.data.formats import bounded
from gradcli.data.formats.image_folder import read_image_folder
from gradcli.errors import UserError

PIL = pytest.importorskip("PIL")
from PIL import Image  # noqa: E402

RANDOM = np.random.default_rng(11)


def pixels(*shape):
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def saved(path, values, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return values


def refused(folder, message, **options):
    with pytest.raises(UserError, match=message) as caught:
        read_image_folder(folder, **options)
    return caught.value


def test_classes_and_files_are_in_sorted_order(tmp_path):
    images = {name: saved(tmp_path / name, pixels(4, 5, 3)) for name in ("b/2.png", "b/1.png")}
    images["a/10.png"] = saved(tmp_path / "a" / "10.png", pixels(4, 5, 3))
    examples = read_image_folder(tmp_path).train
    assert examples.classes == ("a", "b")
    assert examples.targets.tolist() == [0, 1, 1]
    assert examples.targets.dtype == torch.int64
    assert examples.inputs.dtype == torch.uint8
    expected = [images[name].transpose(2, 0, 1) for name in ("a/10.png", "b/1.png", "b/2.png")]
    assert np.array_equal(examples.inputs.numpy(), np.stack(expected))


def test_parts(tmp_path):
    for name in ("train/a", "train/b", "val/b", "test/a", "test/b"):
        saved(tmp_path / name / "1.png", pixels(3, 3))
    (tmp_path / "README.md").write_text("about")
    parts = read_image_folder(tmp_path, mode="L")
    assert [len(part) for part in (parts.train, parts.val, parts.test)] == [2, 1, 2]
    assert parts.val.targets.tolist() == [1]
    assert parts.val.classes == ("a", "b")


def test_a_class_called_train_is_no_part(tmp_path):
    for name in ("train", "car"):
        saved(tmp_path / name / "1.png", pixels(3, 3))
    assert read_image_folder(tmp_path).train.classes == ("car", "train")


def test_a_folder_beside_the_parts_is_asked_about(tmp_path):
    for name in ("train/a", "tset/a"):
        saved(tmp_path / name / "1.png", pixels(3, 3))
    error = refused(tmp_path, "Beside the folder train there is tset")
    assert error.choices == ("test",)


def test_a_class_without_training_images(tmp_path):
    for name in ("train/cat", "test/cta"):
        saved(tmp_path / name / "1.png", pixels(3, 3))
    error = refused(tmp_path, "class 'cta' has no training image")
    assert error.choices == ("cat",)
    assert error.where == str(tmp_path / "test" / "cta")


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp"])
def test_formats_without_loss(tmp_path, suffix):
    values = pixels(6, 7, 3)
    options = {"lossless": True} if suffix == "webp" else {}
    saved(tmp_path / "a" / f"1.{suffix}", values, **options)
    read = read_image_folder(tmp_path).train.inputs[0]
    assert np.array_equal(read.numpy(), values.transpose(2, 0, 1))


def test_the_content_decides_and_not_the_suffix(tmp_path):
    saved(tmp_path / "a" / "image", pixels(3, 3), format="JPEG")
    assert read_image_folder(tmp_path).train.inputs.shape == (1, 3, 3, 3)


def test_colour_becomes_grey_as_the_docstring_says(tmp_path):
    values = saved(tmp_path / "a" / "1.png", pixels(8, 8, 3))
    grey = read_image_folder(tmp_path, mode="L").train.inputs[0, 0].double().numpy()
    assert np.abs(grey - values @ [0.299, 0.587, 0.114]).max() <= 0.51


def test_grey_becomes_colour_of_three_equal_channels(tmp_path):
    values = saved(tmp_path / "a" / "1.png", pixels(4, 4))
    assert np.array_equal(read_image_folder(tmp_path).train.inputs[0].numpy(), [values] * 3)


def test_transparency_is_dropped(tmp_path):
    values = saved(tmp_path / "a" / "1.png", pixels(4, 4, 4))
    read = read_image_folder(tmp_path).train.inputs[0].numpy()
    assert np.array_equal(read, values[..., :3].transpose(2, 0, 1))


def test_resizing_averages_what_it_makes_smaller(tmp_path):
    """Halved by a triangle filter: each pixel is 1/8, 3/8, 3/8, 1/8 of four, in both directions."""
    values = saved(tmp_path / "a" / "1.png", pixels(8, 8))
    saved(tmp_path / "a" / "2.png", pixels(6, 3))
    read = read_image_folder(tmp_path, mode="L", size=[4, 4]).train.inputs
    assert read.shape == (2, 1, 4, 4)
    weights = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    inner = [[(values[r : r + 4, c : c + 4] * weights).sum() for c in (1, 3)] for r in (1, 3)]
    assert np.abs(read[0, 0, 1:3, 1:3].double().numpy() - inner).max() <= 1


def test_sizes_that_differ(tmp_path):
    saved(tmp_path / "a" / "1.png", pixels(4, 5))
    saved(tmp_path / "b" / "1.png", pixels(5, 4))
    error = refused(tmp_path, r"5 x 4 pixels \(height x width\), but .*1.png has 4 x 5")
    assert error.where == str(tmp_path / "b" / "1.png")
    assert error.hint == "data.size=[4,5] resizes all images"
    assert read_image_folder(tmp_path, size=[4, 5]).train.inputs.shape == (2, 3, 4, 5)


@pytest.mark.parametrize("size", [[4], [4, 0], [4, -1], [4.0, 4], [1, 2, 3]])
def test_what_is_no_size(tmp_path, size):
    assert refused(tmp_path, "is no size of an image", size=size).where == "data.size"


def test_hidden_files_are_left_out_and_others_must_be_images(tmp_path):
    saved(tmp_path / "a" / "1.png", pixels(3, 3))
    for name in (".DS_Store", "._1.png", "Thumbs.db", "desktop.ini"):
        (tmp_path / "a" / name).write_bytes(b"not an image")
    (tmp_path / ".git").mkdir()
    assert len(read_image_folder(tmp_path).train) == 1
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    error = refused(tmp_path, "not an image, or a damaged one")
    assert error.where == str(tmp_path / "a" / "notes.txt")


def test_a_truncated_image(tmp_path):
    path = tmp_path / "a" / "1.png"
    saved(path, pixels(40, 40, 3))
    path.write_bytes(path.read_bytes()[:-2000])
    assert refused(tmp_path, "The image cannot be read: ").where == str(path)


def test_layouts_that_cannot_be_read(tmp_path):
    refused(tmp_path / "absent", "cannot be read: No such file")
    refused(tmp_path, "no folder of a class. The folder holds nothing")
    saved(tmp_path / "1.png", pixels(3, 3))
    refused(tmp_path, "no folder of a class. The folder holds 1.png")
    (tmp_path / "a").mkdir()
    refused(tmp_path, "class 'a' has no image")
    (tmp_path / "a" / "deeper").mkdir()
    refused(tmp_path, "an image was expected; this is a folder")
    (tmp_path / "a" / "deeper").rmdir()
    (tmp_path / "a" / "1.png").symlink_to(tmp_path / "nowhere")
    refused(tmp_path, "an image was expected; this is no file that can be read")


def test_links_to_outside_are_read(tmp_path):
    values = saved(tmp_path / "outside" / "1.png", pixels(3, 3))
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "outside")
    assert np.array_equal(read_image_folder(root, mode="L").train.inputs[0, 0].numpy(), values)


@pytest.mark.parametrize("kind", ["I;16", "I", "F"])
def test_pixels_of_more_than_8_bits_are_refused(tmp_path, kind):
    path = tmp_path / "a" / "1.tiff"
    path.parent.mkdir()
    Image.new(kind, (3, 3)).save(path)
    assert refused(tmp_path, "those of 8 bits were expected").where == str(path)


def test_animations_are_refused(tmp_path):
    path = tmp_path / "a" / "1.gif"
    path.parent.mkdir()
    frames = [Image.fromarray(pixels(5, 5)) for _ in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    refused(tmp_path, "has 3 frames; one was expected")


def png_that_announces(width, height):
    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [9_000, 100_000])
def test_decompression_bombs_are_refused(tmp_path, side):
    path = tmp_path / "a" / "1.png"
    path.parent.mkdir()
    path.write_bytes(png_that_announces(side, side))
    assert refused(tmp_path, "announces|exceeds limit").where == str(path)


def test_a_data_set_that_would_not_fit_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "MOST_BYTES", 50)
    for name in ("1.png", "2.png"):
        saved(tmp_path / "a" / name, pixels(3, 3))
    refused(tmp_path, "2 images of 3 x 3 pixels would take")
    assert len(read_image_folder(tmp_path, mode="L").train) == 2


def test_a_photograph_with_a_preview_is_one_image(tmp_path):
    path = tmp_path / "a" / "1.jpg"
    path.parent.mkdir()
    photograph = Image.fromarray(pixels(16, 16, 3))
    photograph.save(path, format="MPO", save_all=True, append_images=[photograph.resize((8, 8))])
    assert Image.open(io.BytesIO(path.read_bytes())).n_frames == 2
    assert read_image_folder(tmp_path).train.inputs.shape == (1, 3, 16, 16)


def test_without_pillow_the_line_to_install_it_is_given(tmp_path, monkeypatch):
    saved(tmp_path / "a" / "1.png", pixels(3, 3))
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image", raising=False)
    assert refused(tmp_path, "needs Pillow").hint == "pip install 'gradcli[images]'"


def test_what_systems_leave_beside_classes_is_no_class(tmp_path):
    for name in ("a", "b", "__MACOSX", ".git"):
        saved(tmp_path / name / "1.png", pixels(3, 3))
    assert read_image_folder(tmp_path).train.classes == ("a", "b")
