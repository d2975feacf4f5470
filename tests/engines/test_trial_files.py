"""A trial's files between two machines: what is sent, and what the copy is at any moment."""

import random
import shutil

import pytest

from gradcli.engines.ray_cluster.trial_files import Changes, Outbox, TrialCopy, Written, files_of
from gradcli.errors import UserError
from gradcli.system.locks import is_locked


@pytest.fixture
def there(tmp_path):
    folder = tmp_path / "there" / "trials" / "a"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def copy(tmp_path):
    copy = TrialCopy(tmp_path / "here" / "trials" / "a")
    yield copy
    copy.release()


def test_any_history_of_files_is_repeated(there, copy):
    """Logs grow, are cut and grow again; files are replaced, emptied and deleted."""
    draw = random.Random(0)
    outbox = Outbox(there, {})
    for _ in range(200):
        name = draw.choice(["run.json", "steps.bin", "checkpoints/last.pt", "evals.jsonl"])
        path = there / name
        path.parent.mkdir(exist_ok=True)
        match draw.choice(["grow", "grow", "cut", "replace", "delete", "rest"]):
            case "grow":
                with path.open("ab") as file:
                    file.write(draw.randbytes(draw.randrange(50)))
            case "cut" if path.exists():
                with path.open("r+b") as file:
                    file.truncate(path.stat().st_size // 2)
                    file.seek(0, 2)
                    file.write(draw.randbytes(draw.randrange(200)))
            case "replace":
                path.write_bytes(draw.randbytes(draw.randrange(100)))
            case "delete":
                path.unlink(missing_ok=True)
        if draw.random() < 0.5:
            copy.apply(outbox.changes())
            assert files_of(copy.directory) == files_of(there)


def test_of_a_log_that_grows_only_the_end_is_sent(there):
    log = there / "steps.bin"
    log.write_bytes(b"x" * 1000)
    outbox = Outbox(there, files_of(there))
    assert outbox.changes() == Changes((), (), False)
    with log.open("ab") as file:
        file.write(b"yz")
    assert outbox.changes().written == (Written("steps.bin", 1000, b"yz"),)
    assert outbox.changes().written == ()


def test_a_log_that_was_cut_and_has_grown_beyond_is_sent_whole(there):
    log = there / "steps.bin"
    log.write_bytes(b"a" * 10 + b"b" * 10)
    outbox = Outbox(there, files_of(there))
    log.write_bytes(b"a" * 10 + b"c" * 20)
    assert outbox.changes().written == (Written("steps.bin", 0, log.read_bytes()),)


def test_no_file_is_written_before_those_that_it_builds_on(there):
    (there / "checkpoints").mkdir()
    names = ["run.json", "checkpoints/last.pt", "checksums.bin", "steps.bin"]
    for name in names:
        (there / name).write_bytes(b"1")
    assert [written.name for written in Outbox(there, {}).changes().written] == names


def test_locks_and_unfinished_files_stay_where_they_are(there):
    for name in ("lock", "lease", "lease.break.1.ab", ".run.json.abcd1234", "run.json"):
        (there / name).write_bytes(b"1")
    assert list(files_of(there)) == ["run.json"]


def test_a_trial_that_begins_anew_is_set_aside_here_as_there(there, copy):
    (copy.directory / "run.json").write_bytes(b"damaged")
    (copy.directory / "config.yaml").write_bytes(b"as before")
    for name, content in files_of(copy.directory).items():
        (there / name).write_bytes(content)
    outbox = Outbox(there, files_of(there))
    aside = there.parents[1] / "damaged"
    aside.mkdir()
    shutil.move(there, aside / "a-1")
    there.mkdir()
    (there / "config.yaml").write_bytes(b"as before")
    copy.apply(outbox.changes())
    assert files_of(copy.directory) == {"config.yaml": b"as before"}
    kept = copy.directory.parents[1] / "damaged" / "a-1"
    assert files_of(kept) == {"run.json": b"damaged", "config.yaml": b"as before"}
    assert is_locked(copy.directory)
    assert not outbox.changes().began_anew


def test_the_directory_here_is_locked_until_it_is_released(tmp_path):
    copy = TrialCopy(tmp_path / "a")
    assert is_locked(tmp_path / "a")
    with pytest.raises(UserError):
        TrialCopy(tmp_path / "a")
    copy.release()
    assert not is_locked(tmp_path / "a")
