import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from gradcli.data import idx, prepared
from gradcli.errors import UserError


@pytest.fixture
def folder(tiny, tmp_path):
    return tiny.write(tmp_path / "source")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def assert_same(first, second):
    assert first.sha256 == second.sha256
    for name in ("pixel_sums", "pixel_squares"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    for split in ("train", "test"):
        assert torch.equal(getattr(first, split).inputs, getattr(second, split).inputs)
        assert torch.equal(getattr(first, split).targets, getattr(second, split).targets)


def forbid_reading(monkeypatch):
    def read_folder(_):
        raise AssertionError("the IDX files were decoded although the prepared file is there")

    monkeypatch.setattr(idx, "read_folder", read_folder)


def test_the_second_start_reads_the_prepared_file_alone(folder, cache, monkeypatch):
    first = prepared.load(folder, cache)
    forbid_reading(monkeypatch)
    assert_same(prepared.load(folder, cache), first)


def test_only_the_prepared_file_is_left_behind(folder, cache):
    prepared.load(folder, cache)
    assert [path.suffix for path in cache.iterdir()] == [".pt"]


def test_plain_and_gzipped_sources_have_the_same_fingerprint(tiny, folder, cache, tmp_path):
    zipped = tiny.write(tmp_path / "zipped", zipped=True)
    assert_same(prepared.load(zipped, cache), prepared.load(folder, cache))


def test_a_changed_source_is_noticed_though_its_size_is_the_same(tiny, folder, cache):
    first = prepared.load(folder, cache)
    tiny.train_images[0, 0, 0] ^= 1
    tiny.write(folder)
    assert prepared.load(folder, cache).sha256 != first.sha256


def torn(content: bytes) -> bytes:
    return content[: len(content) // 2]


def zeroed_page(content: bytes) -> bytes:
    # What a machine that lost power leaves of data that was never written out. The first
    # tensor's bytes begin a little way into the archive.
    return content[:600] + bytes(300) + content[900:]


@pytest.mark.parametrize(
    "damage",
    [torn, zeroed_page, lambda content: b"", lambda content: b"not an archive" * 99],
    ids=["torn", "zeroed page", "empty", "foreign"],
)
def test_a_damaged_prepared_file_is_rebuilt(folder, cache, damage, monkeypatch):
    first = prepared.load(folder, cache)
    (path,) = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert_same(prepared.load(folder, cache), first)
    forbid_reading(monkeypatch)
    assert_same(prepared.load(folder, cache), first)


def test_a_prepared_file_without_its_parts_is_rebuilt(folder, cache):
    first = prepared.load(folder, cache)
    (path,) = cache.iterdir()
    torch.save({"tensors": {}, "checksums": {}}, path)
    assert_same(prepared.load(folder, cache), first)


def test_a_cache_folder_that_cannot_be_made_costs_only_the_time(folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    source = prepared.load(folder, tmp_path / "file" / "cache")
    assert len(source.train) == 60


def test_a_full_disk_costs_only_the_time(folder, cache, monkeypatch):
    def save(_, file):
        file.write(b"the first part")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", save)
    assert len(prepared.load(folder, cache).train) == 60
    assert list(cache.iterdir()) == []


def test_writers_at_the_same_time_do_not_hurt_each_other(folder, cache, monkeypatch):
    barrier = threading.Barrier(4)
    replace = Path.replace

    def replace_together(self, target):
        barrier.wait(timeout=30)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replace_together)
    with ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(lambda _: prepared.load(folder, cache), range(4))
    assert [path.suffix for path in cache.iterdir()] == [".pt"]
    forbid_reading(monkeypatch)
    for source in (*others, prepared.load(folder, cache)):
        assert_same(source, first)


def test_a_mapped_file_may_be_replaced_and_removed(folder, cache):
    first = prepared.load(folder, cache)
    mapped = prepared.load(folder, cache)
    for path in cache.iterdir():
        path.unlink()
    assert_same(prepared.load(folder, cache), mapped)
    assert_same(mapped, first)


def test_a_broken_source_is_an_error_in_spite_of_the_cache(folder, cache):
    prepared.load(folder, cache)
    (folder / idx.NAMES[0]).write_bytes(b"")
    with pytest.raises(UserError, match="begins with nothing"):
        prepared.load(folder, cache)
