"""What this process may use of the machine: cores, memory, graphics cards; without torch.

A container or a batch system may allow less than the machine has, by the affinity of the process
and by its control group (cgroups, versions 1 and 2).
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_ROOT = Path("/")
_SECONDS_TO_ANSWER = 5.0
#: Limits of version 1 that mean none are about as large as a file can be.
_NO_LIMIT = 1 << 60


def cores(root: Path = _ROOT) -> int:
    """Return how many cores this process may use at the same time, wholly; at least 1."""
    return max(1, int(min(len(allowed_cores()), _quota(root))))


def allowed_cores() -> list[int]:
    """Return the numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def is_throttled(root: Path = _ROOT) -> bool:
    """Whether a quota allows fewer cores than the affinity, which is all that OpenMP looks at."""
    return cores(root) < len(allowed_cores())


def available_memory(root: Path = _ROOT) -> int | None:
    """Return how many bytes can be taken before the system swaps or kills; None if unknown."""
    found = [*_free_of_machine(root), *_free_of_groups(root)]
    return min(found, default=None)


def graphics_cards(
    environment: Mapping[str, str] = os.environ, root: Path = _ROOT
) -> tuple[str, ...]:
    """Return the cards of NVIDIA that this process may use, as `CUDA_VISIBLE_DEVICES` names them.

    Those of other makers are not found, and none is where the system does not tell.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        # CUDA ignores whatever follows a name that is none.
        ends = [number for number, name in enumerate(names) if name in ("", "-1")]
        return tuple(names[: ends[0]] if ends else names)
    listed = root / "proc/driver/nvidia/gpus"
    count = len(list(listed.iterdir())) if listed.is_dir() else _counted_by_driver()
    return tuple(map(str, range(count)))


def shares(count: int, among: Sequence[int]) -> list[list[int]]:
    """Divide cores among `count` processes: neighbours together, and none without a core."""
    if count >= len(among):
        return [[among[number % len(among)]] for number in range(count)]
    bounds = [round(number * len(among) / count) for number in range(count + 1)]
    return [list(among[start:end]) for start, end in itertools.pairwise(bounds)]


def _counted_by_driver() -> int:
    """Ask NVIDIA's own program, where there is no `/proc`, as on Windows."""
    import shutil  # these two are nothing that `--help` needs
    import subprocess

    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        answer = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=_SECONDS_TO_ANSWER, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in answer.stdout.splitlines())


def _quota(root: Path) -> float:
    """Return the cores' worth of time that the control groups allow; infinite without a limit."""
    found = [math.inf]
    for group in _groups(root, ""):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            found.append(int(quota) / int(period))
    for group in _groups(root, "cpu"):
        quota, period = (_read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota.isdigit() and period.isdigit():  # -1 is no limit
            found.append(int(quota) / int(period))
    return min(found)


def _free_of_machine(root: Path) -> Iterator[int]:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            yield 1024 * int(line.split()[1])


def _free_of_groups(root: Path) -> Iterator[int]:
    """Yield what each control group has left. File contents that can be dropped count as left."""
    for controller, limit, used, cached in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        for group in _groups(root, controller):
            most, now = _read(group / limit), _read(group / used)
            if most.isdigit() and now.isdigit() and int(most) < _NO_LIMIT:
                stats = dict(line.split() for line in _read(group / "memory.stat").splitlines())
                yield max(0, int(most) - int(now) + int(stats.get(cached, 0)))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the control groups that this process is in, the innermost first.

    Args:
        root: of the file system.
        controller: of version 1; empty for version 2.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            mounts = [controllers] if controller else ["", "unified"]
            for mount in mounts:
                top = root / "sys/fs/cgroup" / mount
                inner = top / path.lstrip("/")
                yield from (one for one in (inner, *inner.parents) if one.is_relative_to(top))


def _read(path: Path) -> str:
    """Return the text of a file of the system's; empty if there is none that can be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
