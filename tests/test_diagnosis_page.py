"""docs/diagnosis.md: every finding has a section, and what is generated there is up to date."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest
from diagnosis_corpus.cases import SYMPTOMS

from gradcli.diagnosis import limits
from gradcli.diagnosis.rules import RULES

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "diagnosis.md").read_text(encoding="utf-8")


def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


readme, generated_parts = tool("readme"), tool("generated_parts")
SECTIONS = dict(re.findall(r"^### (.+)\n((?:(?!^##).*\n)*)", PAGE, re.MULTILINE))
EXAMPLES = [
    (title, example) for title, text in SECTIONS.items() for example in readme.examples(text)
]
UP_TO_DATE = "python tools/readme.py docs/diagnosis.md"


@pytest.fixture
def folder(tmp_path):
    """A folder with the examples' files, as `docs/examples` is."""
    shutil.copytree(readme.EXAMPLES, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_every_finding_has_a_section_causes_in_the_order_of_the_rules_then_symptoms():
    codes = list(dict.fromkeys(code for rule in RULES for code in rule.codes))
    causes = [code for code in codes if code not in SYMPTOMS]
    symptoms = [code for code in codes if code in SYMPTOMS]
    assert list(SECTIONS) == [*causes, *symptoms, "healthy", "undetermined"]


@pytest.mark.parametrize("code", SECTIONS)
def test_a_section_has_an_example_that_shows_the_finding_and_says_what_to_do(code):
    shown = [example.text for title, example in EXAMPLES if title == code]
    assert len(shown) == 1
    assert re.search(rf"(diagnosis +|: ){re.escape(code)}[ .,]", shown[0]), shown[0]
    assert "**What to do.**" in SECTIONS[code]
    assert f"<!-- facts {code}:" in SECTIONS[code]


def test_sources_certainties_and_limits_are_those_of_the_code():
    assert generated_parts.filled(PAGE) == PAGE, UP_TO_DATE


def test_every_limit_is_explained():
    named = set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE))
    assert named == {
        name for name in vars(limits) if isinstance(getattr(limits, name), limits.Limit)
    }


def test_every_file_of_the_examples_is_shown():
    callbacks = (ROOT / "docs" / "callbacks.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^```\w+ (\S+\.\w+)$", PAGE + callbacks, re.MULTILINE))
    files = {path for path in readme.EXAMPLES.rglob("*") if path.is_file()}
    kept = {str(path.relative_to(readme.EXAMPLES)) for path in files if path.suffix != ".pyc"}
    assert shown == kept


@pytest.mark.parametrize(
    "example", readme.examples(PAGE), ids=lambda example: " ".join(example.commands[0].split()[1:])
)
def test_examples_print_what_the_page_shows(example, folder):
    printed = readme.run_example(example, folder)
    assert readme.skeleton(printed, example) == readme.skeleton(example.text, example), UP_TO_DATE


def test_links_lead_somewhere():
    prose = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#h][^)#]*)\)", prose)
    assert "json.md" in targets
    for target in targets:
        assert (ROOT / "docs" / target).exists(), target


# The errors around the limits ----------------------------------------------------------------


def test_every_limit_has_its_measured_errors_beside_it():
    errors = generated_parts.limit_errors()["limits"]
    assert set(errors) == {
        name for name in vars(limits) if isinstance(getattr(limits, name), limits.Limit)
    }
    assert all(tuple(counts) == generated_parts.FACTORS for counts in errors.values())
    # With all limits as they are, the errors are the same ones.
    assert len({tuple(counts["1"]) for counts in errors.values()}) == 1


def test_limits_stand_where_few_trainings_are_judged_wrongly():
    """At half of a limit and at twice it no fewer are wrong, to half a percent."""
    table = generated_parts.limit_errors()
    assert 300 <= table["faults"] < table["trainings"]
    for name, counts in table["limits"].items():
        wrong = {factor: sum(both) for factor, both in counts.items()}
        assert min(wrong.values()) >= wrong["1"] - table["trainings"] / 200, name
