"""On a real Slurm cluster of one node, which `make test-slurm` starts and stops."""

import os
import subprocess
import time

import pytest

pytestmark = pytest.mark.skipif(
    "GRADCLI_SLURM_NODE" not in os.environ,
    reason="needs a Slurm cluster of its own: `make test-slurm` starts one",
)


def slurm(*command):
    """What one of Slurm's commands prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_job_runs(tmp_path):
    wrapped = ("--wrap=echo on $SLURM_JOB_ID", f"--output={tmp_path}/out")
    job = slurm("sbatch", "--parsable", *wrapped).strip()
    asked = ("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}")
    while (state := slurm(*asked).strip()) in {"PENDING", "RUNNING", "COMPLETING"}:
        time.sleep(0.1)
    assert state == "COMPLETED"
    assert (tmp_path / "out").read_text() == f"on {job}\n"
