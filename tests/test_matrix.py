"""`make matrix`: the pairs it tests are those that are claimed, and its report says what ran."""

import importlib.util
import re
import tomllib
from pathlib import Path

from gradcli.fast import gate

ROOT = Path(__file__).parents[1]


def load_matrix():
    specification = importlib.util.spec_from_file_location("matrix", ROOT / "tools" / "matrix.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


matrix = load_matrix()


def test_the_oldest_pair_is_what_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(
        re.match(r"(\w+)>=([\d.]+)", one).groups()
        for one in project["dependencies"]
        if one.startswith("torch")
    )
    torch, torchvision = matrix.PAIRS[0]
    assert (torch, torchvision) == (f"{bounds['torch']}.0", f"{bounds['torchvision']}.0")


def test_both_pairs_have_been_judged():
    for torch, _ in matrix.PAIRS:
        assert torch in {*gate.PROVEN, *gate.UNPROVEN}, torch


def test_the_quick_suite_is_there():
    assert all((ROOT / path).exists() for path in matrix.QUICK)


def test_pins_of_torch_are_left_out_and_the_others_kept():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    kept = matrix.without_pins("\n".join(lines)).splitlines()
    left_out = {line.split("==")[0] for line in set(lines) - set(kept)}
    assert left_out == set(matrix.NOT_PINNED)
    assert "torchmetrics" in " ".join(kept)


def test_counts_are_those_of_the_report():
    report = (
        '<testsuites><testsuite name="pytest" tests="9" failures="2" errors="1" skipped="3"/>'
        "</testsuites>"
    )
    assert matrix.counts_of(report) == "3 passed, 3 failed, 3 skipped"
