"""docs/scale.md: the benchmark that its command runs measures what the page says."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def test_the_command_of_the_page_is_that_of_the_benchmark():
    (command,) = re.findall(r"^```sh\n(.*)\n```$", PAGE, re.MULTILINE)
    script = command.removeprefix("python ")
    assert command in (ROOT / script).read_text(encoding="utf-8")


def test_a_small_comparison_is_measured_to_its_end(tmp_path):
    """One size, without the minutes of its 10,000 trials; the limits are not judged here."""
    answer = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "scale.py", "--trials", "40", "--shape", "seeds"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert "Traceback" not in answer.stderr
    assert re.search(r"^ +40 trials +\d", answer.stdout, re.MULTILINE)
