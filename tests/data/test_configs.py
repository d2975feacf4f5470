"""The shipped menu of data sets, `configs/data/`."""

from pathlib import Path

import pytest
import yaml

from gradcli.data.load import SHIPPED

FOLDER = Path(__file__).parents[2] / "configs" / "data"


def test_every_data_set_is_on_the_menu():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_menu_entry_says_what_it_is_and_has_the_same_keys_as_the_others(name):
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert yaml.safe_load(text) == {
        "_target_": f"gradcli.data.sources.{SHIPPED[name].__name__}",
        "name": name,
        "val": None,
        "folder": None,
        "normalize": "mean_std",
        "drop_last": False,
    }
