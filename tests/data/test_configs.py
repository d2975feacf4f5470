"""The shipped menu of data sets, `configs/data/`."""

import inspect
from pathlib import Path

import pytest
import yaml

from gradcli.data.load import SHIPPED

FOLDER = Path(__file__).parents[2] / "configs" / "data"
COMMON = {"val": None, "folder": None, "normalize": "mean_std", "drop_last": False}


def test_every_data_set_is_on_the_menu():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_menu_entry_says_what_it_is_and_has_the_defaults_of_its_class(name):
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    source = SHIPPED[name]
    values = yaml.safe_load(text)
    assert values.pop("_target_") == f"{source.__module__}.{source.__name__}"
    assert values.pop("name") == name
    assert values.items() >= {"drop_last": False}.items()
    assert {key: COMMON[key] for key in values.keys() & COMMON} == {
        key: value for key, value in values.items() if key in COMMON
    }
    own = {key: value for key, value in values.items() if key not in COMMON}
    parameters = inspect.signature(source).parameters.values() if own else ()
    assert own == {
        one.name: list(one.default) if isinstance(one.default, tuple) else one.default
        for one in parameters
    }


@pytest.mark.parametrize("name", SHIPPED)
def test_a_line_fits_the_screen(name):
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 100
