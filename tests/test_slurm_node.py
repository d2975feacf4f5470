"""The configuration of the cluster that `make test-slurm` starts; no daemon is started here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_node.slurm_conf import FEWEST_CORES, Machine, slurm_conf

TOOL = Path(__file__).parents[1] / "tools" / "slurm_node"


def settings(text):
    """The lines of a slurm.conf, by their first key and its value."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    parsed = [dict(pair.split("=", 1) for pair in line.split()) for line in lines]
    by_first = {next(iter(pairs.items())): pairs for pairs in parsed}
    assert len(by_first) == len(lines), "a line stands twice"
    return by_first


def test_the_node_is_the_machine(tmp_path):
    found = settings(slurm_conf(Machine("big", cores=96, mebibytes=500_000), tmp_path))
    assert found["NodeName", "big"]["CPUs"] == "96"
    assert found["NodeName", "big"]["RealMemory"] == "500000"
    assert found["PartitionName", "DEFAULT"]["Nodes"] == "big"
    assert ("SlurmctldHost", "big(127.0.0.1)") in found


def test_a_small_machine_gets_more_cores_than_it_has(tmp_path):
    found = settings(slurm_conf(Machine("small", cores=1, mebibytes=900), tmp_path))
    assert found["NodeName", "small"]["CPUs"] == str(FEWEST_CORES)
    assert ("SlurmdParameters", "config_overrides") in found, "or slurmd refuses them"


def test_urgent_jobs_preempt_short_ones(tmp_path):
    found = settings(slurm_conf(Machine("any", 4, 900), tmp_path))
    short, urgent = (found["PartitionName", name] for name in ("short", "urgent"))
    assert int(short["PriorityTier"]) < int(urgent["PriorityTier"])
    assert short["PreemptMode"] == "REQUEUE" and urgent["PreemptMode"] == "OFF"
    assert ("PreemptType", "preempt/partition_prio") in found


def test_all_files_lie_in_the_folder(tmp_path):
    text = slurm_conf(Machine("any", 4, 900), tmp_path)
    paths = [value for (_, value) in settings(text) if "/" in value.removeprefix("socket=")[:1]]
    assert len(paths) == 7
    assert all(path.removeprefix("socket=").startswith(f"{tmp_path}/") for path in paths)


def test_this_machine_has_cores_and_memory():
    here = Machine.here()
    assert here.cores == os.cpu_count()
    assert here.mebibytes > 100 and "." not in here.name


@pytest.mark.parametrize("words", [[], ["run"], ["up", "hostname"], ["restart"]])
def test_what_makes_no_sense_is_refused(words):
    ended = subprocess.run([sys.executable, TOOL, *words], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "usage:" in ended.stderr


def test_somebody_who_is_not_root_is_told():
    code = "import os, runpy, sys; os.geteuid = lambda: 1000; sys.argv[1:] = ['up']; " + (
        f"runpy.run_path({str(TOOL)!r}, run_name='__main__')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("slurm_node: only root")
