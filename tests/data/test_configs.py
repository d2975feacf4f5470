"""The shipped menu of data sets, `configs/data/`."""

from pathlib import Path

import pytest
import yaml

from gradcli.data.load import NAMES

FOLDER = Path(__file__).parents[2] / "configs" / "data"


def test_every_data_set_is_on_the_menu():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_menu_entry_says_what_it_is_and_has_the_same_keys_as_the_others(name):
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert yaml.safe_load(text) == {
        "name": name,
        "val": None,
        "folder": None,
        "normalize": "mean_std",
        "drop_last": False,
    }
