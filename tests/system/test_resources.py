"""What a process may use of the machine, told by files like those of the system."""

import os
import subprocess

import pytest

from gradcli.system import resources

GB = 10**9


@pytest.fixture
def machine(tmp_path):
    """Write files below the root of a machine."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


V2 = "proc/self/cgroup", "0::/pod/job\n"
V1 = "proc/self/cgroup", "4:memory:/pod\n3:cpu,cpuacct:/pod\n0::/\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        (dict([V2]), 8),
        ({V2[0]: V2[1], "sys/fs/cgroup/pod/job/cpu.max": "max 100000\n"}, 8),
        ({V2[0]: V2[1], "sys/fs/cgroup/pod/job/cpu.max": "300000 100000\n"}, 3),
        ({V2[0]: V2[1], "sys/fs/cgroup/pod/cpu.max": "250000 100000\n"}, 2),
        ({V2[0]: V2[1], "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({V2[0]: V2[1], "sys/fs/cgroup/cpu.max": "1600000 100000\n"}, 8),
        ({V2[0]: V2[1], "sys/fs/cgroup/unified/pod/cpu.max": "400000 100000\n"}, 4),
        (
            {
                V1[0]: V1[1],
                "sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                V1[0]: V1[1],
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
    ],
)
def test_cores_are_those_of_the_affinity_and_of_every_quota(files, expected, machine, eight_cores):
    root = machine(files)
    assert resources.cores(root) == expected
    assert resources.is_throttled(root) == (expected < 8)


def test_without_an_affinity_all_cores_of_the_machine_count(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert resources.cores(tmp_path) == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert resources.cores(tmp_path) == 1


MEMINFO = "MemTotal: 9000000 kB\nMemFree: 100 kB\nMemAvailable: 4000000 kB\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/meminfo": MEMINFO}, 4_096_000_000),
        (
            {
                "proc/meminfo": MEMINFO,
                V2[0]: V2[1],
                "sys/fs/cgroup/pod/job/memory.max": "max\n",
                "sys/fs/cgroup/pod/job/memory.current": f"{GB}\n",
            },
            4_096_000_000,
        ),
        (
            {
                "proc/meminfo": MEMINFO,
                V2[0]: V2[1],
                "sys/fs/cgroup/pod/memory.max": f"{3 * GB}\n",
                "sys/fs/cgroup/pod/memory.current": f"{2 * GB}\n",
                "sys/fs/cgroup/pod/memory.stat": f"anon 7\ninactive_file {GB // 2}\n",
            },
            3 * GB // 2,
        ),
        (
            {
                V1[0]: V1[1],
                "sys/fs/cgroup/memory/pod/memory.limit_in_bytes": f"{2 * GB}\n",
                "sys/fs/cgroup/memory/pod/memory.usage_in_bytes": f"{3 * GB}\n",
            },
            0,
        ),
        (
            {
                V1[0]: V1[1],
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GB}\n",
            },
            None,
        ),
    ],
)
def test_memory_is_what_the_machine_and_every_group_have_left(files, expected, machine):
    assert resources.available_memory(machine(files)) == expected


def test_this_machine_answers():
    assert 1 <= resources.cores() <= len(resources.allowed_cores())
    assert resources.available_memory() is None or resources.available_memory() > 0


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0,1", ("0", "1")),
        ("2", ("2",)),
        ("GPU-8932f937, MIG-1", ("GPU-8932f937", "MIG-1")),
        ("1,-1,0", ("1",)),
        ("-1", ()),
        ("", ()),
    ],
)
def test_cards_are_those_that_cuda_may_see(visible, expected, machine):
    root = machine({"proc/driver/nvidia/gpus/0000_00_04.0/information": ""})
    assert resources.graphics_cards({"CUDA_VISIBLE_DEVICES": visible}, root) == expected


def test_cards_are_counted_as_the_driver_lists_them(machine):
    listed = {f"proc/driver/nvidia/gpus/{n}/information": "" for n in range(3)}
    assert resources.graphics_cards({}, machine(listed)) == ("0", "1", "2")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("GPU 0: NVIDIA H200 (UUID: GPU-1)\n  MIG 1g.18gb Device 0:\nGPU 1: NVIDIA H200\n", 2),
        ("No devices were found\n", 0),
        (None, 0),
    ],
)
def test_where_no_files_tell_the_program_of_the_driver_is_asked(
    said, expected, tmp_path, monkeypatch
):
    def run(command, **more):
        if said is None:
            raise subprocess.CalledProcessError(9, command)
        return subprocess.CompletedProcess(command, 0, said)

    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("subprocess.run", run)
    assert len(resources.graphics_cards({}, tmp_path)) == expected


@pytest.mark.parametrize("count", range(1, 12))
@pytest.mark.parametrize("cores", [[0], [2, 3], [0, 1, 4, 5, 6, 7, 9]])
def test_shares_of_cores_are_even_and_never_empty(count, cores):
    shares = resources.shares(count, cores)
    assert len(shares) == count
    assert all(shares)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    if count <= len(cores):
        assert [core for share in shares for core in share] == cores
    else:
        uses = [sum(core in share for share in shares) for core in cores]
        assert max(uses) - min(uses) <= 1
