"""What a process asks of Python and of the C library, and that it gets it."""

import atexit
import gc
import os
import subprocess
import sys

import pytest

from gradcli.errors import UserError
from gradcli.system.processes import end_quickly, keep_freed_memory, quick_imports


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
    name, _, release = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    return tuple(map(int, release.split("."))) if name == "glibc" else (0,)


@pytest.mark.skipif(glibc() < (2, 36), reason="the heap takes no blocks of 40 MB")
def test_memory_that_a_step_frees_is_there_for_the_next():
    pages = 4 * 80 * 2**20 / os.sysconf("SC_PAGE_SIZE")
    _, faults = steps("leave")
    assert faults > 0.9 * pages  # a test of the test: all of it comes anew each time
    kept, faults = steps("keep")
    assert kept == "True"
    assert faults < 0.01 * pages


def test_a_user_who_has_set_up_the_allocator_keeps_it_so():
    kept, _ = steps("keep", MALLOC_ARENA_MAX="2")
    assert kept == "False"


def test_other_libraries_are_left_alone(monkeypatch):
    def no_such_name(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "confstr", no_such_name)
    assert not keep_freed_memory()
    monkeypatch.delattr(os, "confstr")
    assert not keep_freed_memory()
