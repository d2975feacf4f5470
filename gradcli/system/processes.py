"""Settings of Python and the C library that make gradcli's own processes start, run and end fast.

They affect a whole process, so nothing that users import into their programs calls them.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gradcli.system.resources import cores, is_throttled

#: Of libgomp, which torch uses on Linux. Its own are 300,000. With 1,000 a training alone took half
#: as long again, because it slept at nearly every operation that threads share.
_SPINS = "10000"
# From glibc's malloc.h, see mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT = 1 << 29
_OF_THE_HEAP = (1 << 30, 1 << 25)  # bytes; older releases refuse more than the second


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without the garbage collector, and hide from it what was imported.

    Modules are not garbage, so it finds nothing while they load. Its searches among the hundreds
    of thousands of objects that torch creates took 17% of the time from the start of
    `gradcli train` to the end of its first step.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def considerate_threads(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return variables by which OpenMP leaves cores to others; it reads them when torch loads.

    A thread that waits for the others of its process spins, for milliseconds by default, and keeps
    the core from whatever it waits for: two trainings at once took up to a hundred times as long as
    one. After `_SPINS` looks, a fraction of a millisecond, it now sleeps until it is woken
    (`benchmarks/together.py`). If a quota allows fewer cores than the process sees, there is a
    thread for each of those only.

    Returns:
        Nothing that the user has set.
    """
    wanted = {} if "OMP_WAIT_POLICY" in environment else {"GOMP_SPINCOUNT": _SPINS}
    if is_throttled():
        wanted["OMP_NUM_THREADS"] = str(cores())
    return {name: value for name, value in wanted.items() if name not in environment}


def end_quickly() -> None:
    """Let this process end without a last search for garbage among its modules.

    With torch, SciPy and matplotlib loaded, that search took 0.5 to 0.7 s.
    """
    atexit.register(gc.freeze)


def keep_freed_memory() -> bool:
    """Let the C library keep up to 512 MB of freed memory for the next training step.

    By default it returns the activations of a convolutional network to the system after each
    step and each batch of an evaluation, and then gets them back zeroed, page by page: 3,000
    page faults per step of the default CNN. Without them its training takes 0.8 to 0.9 of the
    time on two cores, and its evaluation 0.55 to 0.63. The peak of memory grows by a tenth.

    Returns:
        Whether it does: only with glibc, and only if the user has not configured it.
    """
    if not _is_glibc() or any(name.startswith(("MALLOC_", "GLIBC_TUN")) for name in os.environ):
        return False
    import ctypes  # nothing that `--help` needs

    mallopt = ctypes.CDLL(None).mallopt
    from_the_heap = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _OF_THE_HEAP)
    return from_the_heap and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT))


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError):  # not Unix, or a Unix without that name
        return False
