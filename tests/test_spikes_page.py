"""docs/spikes.md: its commands print what it shows, numbers aside."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "spikes.md").read_text(encoding="utf-8")

_spec = importlib.util.spec_from_file_location("readme", ROOT / "tools" / "readme.py")
readme = importlib.util.module_from_spec(_spec)
sys.modules["readme"] = readme
_spec.loader.exec_module(readme)


def test_the_example_prints_what_the_page_shows(tmp_path):
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "spoiled.py").write_text(code)
    (example,) = readme.examples(PAGE)
    printed = readme.run_example(example, tmp_path)
    assert readme.skeleton(printed, example) == readme.skeleton(example.text, example)
    for words in ("huge input", "saturated", "mislabelled?", "to the bit"):
        assert words in " ".join(printed.split())
