"""The commands that an inspection proposes build the run as it was built."""

from pathlib import Path

from gradcli.system.paths import Paths


def test_what_built_the_run_is_carried_even_if_it_was_not_given_again():
    recorded = Paths(Path("r"), Path("d"), Path("c"), ("mine",))
    kept = Paths().completed_by(recorded).arguments(runs=False)
    assert kept == ["--data-dir", "d", "--config-dir", "c", "--allow-import", "mine"]


def test_what_is_given_comes_before_what_is_recorded():
    given = Paths(data_dir=Path("new"), allow_import=("mine", "other"))
    recorded = Paths(Path("r"), Path("d"), None, ("mine",))
    merged = given.completed_by(recorded)
    assert (merged.data_dir, merged.allow_import) == (Path("new"), ("mine", "other"))
