"""What made a run."""

import time
from pathlib import Path

import gradcli
from gradcli.runs.provenance import built_with, provenance
from gradcli.system.paths import Paths


def test_the_start_of_a_process_is_known_to_the_tick(spawn):
    before = time.time()
    said = spawn(
        "-c",
        "import time; time.sleep(0.3); from gradcli.runs.provenance import process_started; "
        "print(process_started())",
    )
    assert said.code == 0, said.err
    # The clock of the processes has a hundred ticks a second, and /proc/uptime as many digits.
    assert before - 0.05 <= float(said.out) <= before + 0.25


def test_paths_are_recorded_as_absolute_ones(tmp_path):
    paths = Paths(
        data_dir=Path("data"), config_dir=tmp_path, allow_import=("lab",), started_in=tmp_path
    )
    assert built_with(paths) == {
        "data_dir": str(tmp_path / "data"),
        "config_dir": str(tmp_path),
        "allow_import": ["lab"],
    }
    assert built_with(Paths()) == {"data_dir": None, "config_dir": None, "allow_import": []}


def test_the_command_and_the_versions_are_recorded():
    found = provenance()
    assert found["versions"]["gradcli"] == gradcli.__version__
    assert set(found) == {"argv", "git", "versions", "platform"}
