"""Asking for the commit executes nothing of the repository, changes nothing, and ends in time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradcli.system import git


def run(folder, *words):
    who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True)


def is_alive(pid):
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] != "Z"


def touched(path):
    """Give a file another time than the index has, so that git must look at its content."""
    os.utime(path, (1, 1))


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    run(folder, "init", "--quiet")
    (folder / "code.py").write_text("x = 1\n")
    run(folder, "add", ".")
    run(folder, "commit", "--quiet", "--message", "first")
    return folder


def commit_of(folder):
    answer = subprocess.run(
        ["git", "-C", folder, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    return answer.stdout.strip()


@pytest.fixture
def hostile(repository, tmp_path):
    """A repository whose every program leaves a file in the folder `traces`."""
    traces = tmp_path / "traces"
    traces.mkdir()

    def program(name):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\ntouch {traces}/{name}\ncat\n")
        path.chmod(0o755)
        return str(path)

    (repository / ".gitattributes").write_text("*.py filter=evil\n*.txt filter=long\n")
    (repository / "notes.txt").write_text("notes\n")
    run(repository, "add", ".")
    run(repository, "commit", "--quiet", "--message", "second")
    for key, value in {
        "core.fsmonitor": program("fsmonitor"),
        "core.pager": program("pager"),
        "filter.evil.clean": program("clean"),
        "filter.evil.required": "true",
        "filter.long.process": program("process"),
        "diff.external": program("diff"),
    }.items():
        run(repository, "config", key, value)
    for name in ("post-index-change", "post-checkout", "reference-transaction"):
        Path(program(name)).rename(repository / ".git" / "hooks" / name)
    for name in ("code.py", "notes.txt"):
        touched(repository / name)
    return repository, traces


def test_the_commit_and_whether_files_differ_from_it(repository):
    clean = {"commit": commit_of(repository), "dirty": False}
    assert git.checked_out(repository) == clean
    (repository / "untracked").write_text("")
    touched(repository / "code.py")
    assert git.checked_out(repository) == clean
    (repository / "code.py").write_text("x = 2\n")
    assert git.checked_out(repository) == {**clean, "dirty": True}
    run(repository, "add", ".")
    assert git.checked_out(repository) == {**clean, "dirty": True}


def test_without_a_repository_there_is_no_commit(tmp_path):
    assert git.checked_out(tmp_path) is None


def test_without_git_there_is_no_commit(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git.checked_out(repository) is None


def test_nothing_of_the_repository_is_executed(hostile):
    repository, traces = hostile
    index = (repository / ".git" / "index").read_bytes()
    assert git.checked_out(repository) == {"commit": commit_of(repository), "dirty": False}
    assert list(traces.iterdir()) == []
    assert (repository / ".git" / "index").read_bytes() == index


def test_the_repository_is_as_hostile_as_it_should_be(hostile):
    repository, traces = hostile
    subprocess.run(["git", "-C", repository, "status"], capture_output=True, check=False)
    names = {path.name for path in traces.iterdir()}
    assert names >= {"fsmonitor", "clean", "process"}


def test_nothing_is_fetched(repository, tmp_path):
    """A partial clone fetches what it lacks from the remote that its configuration names."""
    trace, program = tmp_path / "fetched", tmp_path / "transport"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)
    for key, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.url": f"ext::{program}",
        "remote.origin.promisor": "true",
        "protocol.ext.allow": "always",
    }.items():
        run(repository, "config", key, value)
    tree = subprocess.run(
        ["git", "-C", repository, "rev-parse", "HEAD^{tree}"], capture_output=True, text=True
    ).stdout.strip()
    (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    assert git.checked_out(repository) is None
    assert not trace.exists()


def test_a_filter_that_cannot_be_switched_off_is_not_run(hostile):
    repository, traces = hostile
    clean = subprocess.run(
        ["git", "-C", repository, "config", "filter.evil.clean"], capture_output=True, text=True
    ).stdout.strip()
    run(repository, "config", "filter.a=b.clean", clean)
    assert git.checked_out(repository) is None
    assert list(traces.iterdir()) == []


def test_a_worker_executes_nothing_either(hostile, spawn):
    repository, traces = hostile
    code = "from gradcli.runs.provenance import provenance; print(provenance()['git']['commit'])"
    paths = os.pathsep.join(filter(None, sys.path))
    answer = spawn("-P", "-c", code, cwd=repository, PYTHONPATH=paths)
    assert (answer.out.strip(), answer.code) == (commit_of(repository), 0)
    assert list(traces.iterdir()) == []


def test_too_slow_a_git_is_ended_with_all_its_processes(repository, monkeypatch, tmp_path):
    child = tmp_path / "child"
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nsleep 600 &\necho $! >{child}\nwait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(git, "_SECONDS", 1.0)
    assert git.checked_out(repository) is None
    deadline = time.monotonic() + 30
    while is_alive(int(child.read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)  # a killed process ends when it is next scheduled
    assert not is_alive(int(child.read_text()))
