"""The ranges that shipped options give a search: valid, around their defaults, with a source."""

import re
from pathlib import Path

import pytest
import yaml

from gradcli.comparison.protocol import grid_around
from gradcli.comparison.search import Range

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(
    path for group in ("optimizer", "clip", "schedule") for path in CONFIGS.glob(f"{group}/*.yaml")
)
OPTIMIZERS = [path for path in FILES if path.parent.name == "optimizer"]


def loaded(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def ranges_in(path):
    return {key: Range(key, **one) for key, one in loaded(path).get("search", {}).items()}


def value_of(path, key):
    """The value that a file gives a key such as `betas.0`."""
    value = loaded(path)
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_range_is_of_a_number_and_around_it(path):
    for key, one in ranges_in(path).items():
        value = value_of(path, key)
        assert isinstance(value, float), key
        # What is off by default, such as weight decay, is below a range by factors.
        off = value == 0 and one.scale == "log"
        assert off or one.low <= value <= one.high, key


@pytest.mark.parametrize("path", OPTIMIZERS, ids=lambda path: path.stem)
def test_the_range_of_a_learning_rate_has_the_widest_grid(path):
    protocols = [loaded(one) for one in CONFIGS.glob("protocol/*.yaml")]
    lr = ranges_in(path)["lr"]
    for protocol in protocols:
        grid = grid_around(value_of(path, "lr"), protocol["learning_rates"], protocol["per_decade"])
        assert lr.low <= grid.rates[0]
        assert grid.rates[-1] <= lr.high


@pytest.mark.parametrize("path", OPTIMIZERS, ids=lambda path: path.stem)
def test_no_optimizer_knows_its_learning_rate_better_than_others(path):
    """A narrower range is an advantage with the same number of trials."""
    lr = ranges_in(path)["lr"]
    assert lr.high / lr.low == pytest.approx(100)
    assert lr.value(0.5) == pytest.approx(value_of(path, "lr"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_range_says_where_it_comes_from(path):
    section = path.read_text(encoding="utf-8").partition("\nsearch:\n")[2].splitlines()
    for above, line in zip(["", *section], section, strict=False):
        if not re.match(r" *#", line):
            assert "  # " in line or above.lstrip().startswith("# "), line
