import socket

import pytest

from gradcli.data.downloads.download import DownloadError, DownloadProgress, Mirror, fetch

FILE = "train-images-idx3-ubyte.gz"
PATIENCE = 30.0  # seconds, which only a mirror that keeps us waiting uses up
WAITING = {"stalling": 0.2, "silent": 0.2, "dripping": 0.2}


def mirrors(server, *behaviours):
    return [Mirror(server.mirror(name), WAITING.get(name, PATIENCE)) for name in behaviours]


@pytest.fixture
def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def test_a_good_file_arrives_whole_and_reports_its_progress(server, tmp_path):
    steps: list[DownloadProgress] = []
    server.files[FILE] = bytes(range(256)) * 1000
    fetch(FILE, server.md5(FILE), mirrors(server, "good"), tmp_path, steps.append)
    assert (tmp_path / FILE).read_bytes() == server.files[FILE]
    received = [step.received_bytes for step in steps]
    assert received == sorted(set(received))
    assert received[-1] == 256_000
    assert {(step.file, step.mirror, step.total_bytes) for step in steps} == {
        (FILE, server.mirror("good"), 256_000)
    }


BAD = {
    "altered": "wrong checksum: MD5 .*, expected",
    "unavailable": r"HTTP status 503 \(Service Unavailable\)",
    "stalling": "time-out after waiting 0.2 s",
    "silent": "time-out after waiting 0.2 s",
    "dripping": "time-out after waiting 0.2 s",
    "truncated": "truncated: .* of .* bytes",
}


@pytest.mark.parametrize(("behaviour", "reason"), BAD.items())
def test_each_kind_of_failure_has_its_own_message(server, tmp_path, behaviour, reason):
    with pytest.raises(DownloadError, match=f"{server.mirror(behaviour)}{FILE}: {reason}"):
        fetch(FILE, server.md5(FILE), mirrors(server, behaviour), tmp_path)


@pytest.mark.parametrize("behaviour", BAD)
def test_the_next_mirror_helps_out(server, tmp_path, behaviour):
    fetch(FILE, server.md5(FILE), mirrors(server, behaviour, "good"), tmp_path)
    assert (tmp_path / FILE).read_bytes() == server.files[FILE]


def test_a_missing_mirror_is_reported(server, tmp_path, closed_port):
    with pytest.raises(DownloadError, match=f"{closed_port}{FILE}: connection failed"):
        fetch(FILE, server.md5(FILE), [Mirror(closed_port, PATIENCE)], tmp_path)


def test_the_error_lists_every_mirror_with_its_reason(server, tmp_path):
    with pytest.raises(DownloadError) as caught:
        fetch(FILE, server.md5(FILE), mirrors(server, "unavailable", "truncated"), tmp_path)
    first, second = str(caught.value).split("; ")
    assert first.startswith(server.mirror("unavailable")) and "503" in first
    assert second.startswith(server.mirror("truncated")) and "truncated" in second


def test_a_mirror_stalls_once_for_all_files(server, tmp_path):
    stalling, good = mirrors(server, "stalling", "good")
    fetch(FILE, server.md5(FILE), [stalling, good], tmp_path)
    # So that no later file waits for it; a time-out may end a tick of the clock too soon.
    assert stalling.seconds_left < 0.01
    assert 0 < good.seconds_left <= PATIENCE


def test_data_that_arrives_earns_patience_but_never_more_than_there_was(server, tmp_path):
    server.files[FILE] = bytes(2_000_000)
    (good,) = mirrors(server, "good")
    fetch(FILE, server.md5(FILE), [good], tmp_path)
    assert 0 < good.seconds_left <= PATIENCE


def test_an_address_without_a_final_slash_works(server, tmp_path):
    fetch(FILE, server.md5(FILE), [Mirror(server.mirror("good")[:-1], PATIENCE)], tmp_path)
    assert (tmp_path / FILE).read_bytes() == server.files[FILE]
