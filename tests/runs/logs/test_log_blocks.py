"""Logs with a checksum per block: what counts of them, and what is said of the rest."""

import struct
import zlib

import numpy as np
import pytest

from gradcli.errors import DamagedFileError
from gradcli.runs.logs.log_blocks import (
    Logs,
    damaged_ranges,
    described,
    refuse_other_logs,
    unchecked_end,
    undamaged,
)

EVALS, PROBES, STEPS = "evals.jsonl", "probes.jsonl", "steps.bin"
ENTRY = struct.Struct("<IIqq")  # the log's number, the checksum, the start and the size


@pytest.fixture
def logs(tmp_path):
    """Logs with two blocks of evaluations, one of probes and an empty one of steps."""
    logs = Logs(tmp_path, {})
    for name, block in ((EVALS, b"first\n"), (PROBES, b"probe\n"), (STEPS, b""), (EVALS, b"2nd\n")):
        logs.append(name, block)
    yield logs
    logs.close()


def spoil(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_each_block_has_a_checksum(logs, tmp_path):
    entries = list(ENTRY.iter_unpack((tmp_path / "checksums.bin").read_bytes()))
    assert entries == [
        (1, zlib.crc32(b"first\n"), 0, 6),
        (2, zlib.crc32(b"probe\n"), 0, 6),
        (1, zlib.crc32(b"2nd\n"), 6, 4),
    ]
    assert (tmp_path / EVALS).read_bytes() == b"first\n2nd\n"


def test_the_sizes_on_the_disk_are_told(logs):
    assert logs.sync() == {STEPS: 0, EVALS: 10, PROBES: 6, "checksums.bin": 3 * ENTRY.size}


def test_resuming_cuts_logs_and_checksums_to_the_sizes_that_stay(logs, tmp_path):
    logs.close()
    again = Logs(tmp_path, {EVALS: 6})
    assert again.sync() == {STEPS: 0, EVALS: 6, PROBES: 0, "checksums.bin": ENTRY.size}
    again.append(EVALS, b"other\n")
    again.close()
    assert (tmp_path / EVALS).read_bytes() == b"first\nother\n"
    assert damaged_ranges(tmp_path, EVALS) == []
    assert unchecked_end(tmp_path, EVALS) == range(12, 12)


def test_a_run_that_begins_anew_has_no_checksums_of_an_earlier_one(logs, tmp_path):
    logs.close()
    again = Logs(tmp_path, {EVALS: 0})
    assert set(again.sync().values()) == {0}
    again.close()


def test_a_damaged_block_is_found_and_only_that(logs, tmp_path):
    assert damaged_ranges(tmp_path, EVALS) == []
    spoil(tmp_path / EVALS, 7)
    assert damaged_ranges(tmp_path, EVALS) == [range(6, 10)]
    assert damaged_ranges(tmp_path, EVALS, 9) == []  # the block is not within these bytes
    assert damaged_ranges(tmp_path, EVALS, 10) == [range(6, 10)]
    assert damaged_ranges(tmp_path, PROBES) == []
    spoil(tmp_path / EVALS, 0)
    assert damaged_ranges(tmp_path, EVALS) == [range(6), range(6, 10)]


def test_a_block_that_is_cut_off_is_damaged(logs, tmp_path):
    (tmp_path / EVALS).write_bytes(b"first\n2nd")
    assert damaged_ranges(tmp_path, EVALS) == [range(6, 10)]


def test_a_long_block_is_checked_to_its_end(tmp_path):
    block = np.random.default_rng(0).bytes(200_001)
    logs = Logs(tmp_path, {})
    logs.append(STEPS, block)
    logs.close()
    assert damaged_ranges(tmp_path, STEPS) == []
    spoil(tmp_path / STEPS, 200_000)
    assert damaged_ranges(tmp_path, STEPS) == [range(200_001)]


def test_an_end_without_a_checksum_is_told(logs, tmp_path):
    assert unchecked_end(tmp_path, EVALS) == range(10, 10)
    with (tmp_path / EVALS).open("ab") as file:
        file.write(b"torn")
    assert unchecked_end(tmp_path, EVALS) == range(10, 14)
    (tmp_path / EVALS).write_bytes(b"firs")
    assert unchecked_end(tmp_path, EVALS) == range(4, 4)


def test_logs_from_before_there_were_checksums_count_as_they_are(logs, tmp_path):
    (tmp_path / "checksums.bin").unlink()
    assert damaged_ranges(tmp_path, EVALS) == []
    assert unchecked_end(tmp_path, EVALS) == range(10, 10)


@pytest.mark.parametrize(
    ("ranges", "left"),
    [
        ([], b"0123456789"),
        ([range(3)], b"3456789"),
        ([range(2, 4), range(8, 10)], b"014567"),
        ([range(2, 4), range(4, 6)], b"016789"),
    ],
)
def test_parts_are_left_out_of_the_bytes_of_a_log(ranges, left):
    assert undamaged(b"0123456789", ranges) == left


def test_damage_is_described_by_its_first_part_and_the_number_of_others():
    said = "does not match the checksum of its bytes 1,000 to 2,000"
    assert described([range(1000, 2000)]) == said
    assert described([range(1000, 2000), range(9)]) == f"{said} and of 1 more block"
    assert described([range(1000, 2000)] * 3) == f"{said} and of 2 more blocks"


def test_logs_that_a_checkpoint_does_not_know_are_refused(logs, tmp_path):
    sizes = logs.sync()
    refuse_other_logs(tmp_path, sizes)
    refuse_other_logs(tmp_path, {EVALS: 6})
    with pytest.raises(DamagedFileError, match=r"has 10 bytes, and the checkpoint needs 1,200"):
        refuse_other_logs(tmp_path, {EVALS: 1200})
    with pytest.raises(DamagedFileError, match=r"checksums\.bin has 72 bytes"):
        refuse_other_logs(tmp_path, {"checksums.bin": 73})
    spoil(tmp_path / EVALS, 7)
    refuse_other_logs(tmp_path, {EVALS: 6, PROBES: 6})
    with pytest.raises(DamagedFileError, match="of its bytes 6 to 10"):
        refuse_other_logs(tmp_path, sizes)


@pytest.mark.parametrize("zeros", [1, 24, 30, 72])
def test_zeros_and_a_torn_row_at_the_end_of_the_checksums_are_none(logs, tmp_path, zeros):
    with (tmp_path / "checksums.bin").open("ab") as file:
        file.write(bytes(zeros))
    assert damaged_ranges(tmp_path, EVALS) == []
    assert unchecked_end(tmp_path, EVALS) == range(10, 10)


@pytest.mark.parametrize(
    "entry",
    [(3, 0, 0, 5), (1, 0, -1, 5), (1, 0, 0, -5), (1, 0, 2**61, 2**61 + 1), (1, 0, 1, 2**62)],
)
def test_what_cannot_be_a_checksum_is_refused(logs, tmp_path, entry):
    (tmp_path / "checksums.bin").write_bytes(ENTRY.pack(*entry))
    with pytest.raises(DamagedFileError, match="holds no checksums"):
        damaged_ranges(tmp_path, EVALS)


def test_a_row_of_zeros_before_others_is_refused(logs, tmp_path):
    path = tmp_path / "checksums.bin"
    path.write_bytes(bytes(ENTRY.size) + path.read_bytes())
    with pytest.raises(DamagedFileError, match="holds no checksums"):
        damaged_ranges(tmp_path, EVALS)


@pytest.mark.parametrize("entry", [(2, 0, 0, 1), (1, 0, 0, 2**62), (1, 0, 2**61, 2**61)])
def test_the_largest_that_can_be_is_only_a_block_that_is_not_there(logs, tmp_path, entry):
    (tmp_path / "checksums.bin").write_bytes(ENTRY.pack(*entry))
    log = (STEPS, EVALS, PROBES)[entry[0]]
    assert damaged_ranges(tmp_path, log) == [range(entry[2], entry[2] + entry[3])]


def test_a_log_that_is_gone_is_an_error(logs, tmp_path):
    (tmp_path / EVALS).unlink()
    with pytest.raises(DamagedFileError, match=r"evals\.jsonl cannot be read: No such file"):
        damaged_ranges(tmp_path, EVALS)
