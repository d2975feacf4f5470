"""What a process asks of Python and of the C library, and that it gets it."""

import atexit
import gc
import os
import subprocess
import sys

import pytest

from gradcli.errors import UserError
from gradcli.system import processes
from gradcli.system.processes import (
    considerate_threads,
    end_quickly,
    keep_freed_memory,
    quick_imports,
)


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    gc.unfreeze()


def test_nothing_is_collected_within_and_nothing_of_it_is_looked_at_again():
    gc.collect()
    with quick_imports():
        assert not gc.isenabled()
        made = [[] for _ in range(10 * gc.get_threshold()[0])]
    assert gc.isenabled()
    young = {id(one) for one in gc.get_objects()}
    assert not young & set(map(id, made))


def test_a_mistake_within_leaves_the_collector_on():
    with pytest.raises(UserError), quick_imports():
        raise UserError("A mistake.")
    assert gc.isenabled()


def test_the_last_look_for_garbage_is_left_out(monkeypatch):
    at_exit = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    end_quickly()
    frozen = gc.get_freeze_count()
    for call in at_exit:
        call()
    assert gc.get_freeze_count() > frozen


#: Prints what was asked for, and the page faults of steps that allocate 80 MB and free them.
STEPS = """
import resource, sys
import torch
from gradcli.system.processes import keep_freed_memory
torch.set_num_threads(1)
kept = sys.argv[1] == "keep" and keep_freed_memory()
def step():
    tensors = [torch.ones(10 * 1024 * 1024) for _ in range(2)]
for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def steps(how: str, **environment: str) -> tuple[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", STEPS, how],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    kept, faults = done.stdout.split()
    return kept, int(faults)


def glibc() -> tuple[int, ...]:
    """The release of the C library; (0,) of another one."""
    said = os.confstr("CS_GNU_LIBC_VERSION") if hasattr(os, "confstr") else ""
    name, _, release = (said or "").partition(" ")
    return tuple(map(int, release.split("."))) if name == "glibc" else (0,)


@pytest.mark.skipif(glibc() < (2, 36), reason="the heap takes no blocks of 40 MB")
def test_memory_that_a_step_frees_is_there_for_the_next():
    pages = 4 * 80 * 2**20 / os.sysconf("SC_PAGE_SIZE")
    _, faults = steps("leave")
    assert faults > 0.9 * pages  # a test of the test: all of it comes anew each time
    kept, faults = steps("keep")
    assert kept == "True"
    assert faults < 0.01 * pages


@pytest.mark.skipif(glibc() == (0,), reason="asks another C library than that of Linux")
def test_a_user_who_has_set_up_the_allocator_keeps_it_so():
    kept, _ = steps("keep", MALLOC_ARENA_MAX="2")
    assert kept == "False"


def test_other_libraries_are_left_alone(monkeypatch):
    def no_such_name(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "confstr", no_such_name, raising=False)
    assert not keep_freed_memory()
    monkeypatch.delattr(os, "confstr")
    assert not keep_freed_memory()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT"}),
        ({"GOMP_SPINCOUNT": "7"}, set()),
        ({"OMP_WAIT_POLICY": "active"}, set()),
        ({"OMP_NUM_THREADS": "2"}, {"GOMP_SPINCOUNT"}),
    ],
)
def test_threads_spin_briefly_unless_the_user_says_otherwise(environment, expected, monkeypatch):
    monkeypatch.setattr("gradcli.system.processes.is_throttled", lambda: False)
    assert considerate_threads(environment).keys() == expected


def test_a_quota_sets_the_number_of_threads(monkeypatch):
    monkeypatch.setattr("gradcli.system.processes.is_throttled", lambda: True)
    monkeypatch.setattr("gradcli.system.processes.cores", lambda: 3)
    assert considerate_threads({})["OMP_NUM_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in considerate_threads({"OMP_NUM_THREADS": "5"})


@pytest.mark.parametrize("given", [{}, {"GOMP_SPINCOUNT": "12"}], ids=["ours", "theirs"])
def test_the_command_line_sets_it_before_torch_loads(given, spawn, tmp_path):
    words = ("data=mnist5k", "model.hidden=[4]", "max_steps=1", "--runs-dir", "runs")
    answer = spawn(
        "-m", "gradcli", "train", *words, cwd=tmp_path, OMP_DISPLAY_ENV="verbose", **given
    )
    if "GOMP_SPINCOUNT" not in answer.err:
        pytest.skip("torch came with another OpenMP than libgomp")
    spins = given.get("GOMP_SPINCOUNT", processes._SPINS)
    assert f"GOMP_SPINCOUNT = '{spins}'" in answer.err
