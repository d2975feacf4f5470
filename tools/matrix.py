"""Run the quick suite with the oldest and the newest PyTorch that gradcli supports.

    python tools/matrix.py                  make a virtual environment for each pair, and test there
    python tools/matrix.py --venv DIR ...   test in environments that exist already

`make matrix` calls it. Environments are made in `.matrix/`, with this Python, and kept for the
next time. pip downloads PyTorch from the index that is configured: set `PIP_EXTRA_INDEX_URL` to get
builds without CUDA, which are smaller.

The quick suite is `QUICK`, below: what depends on the release of PyTorch or torchvision. It prints
one line per environment, and exits with 1 if a test failed or an installation did.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

#: torch and torchvision that belong together: what `pyproject.toml` asks for at least, and the
#: newest that has been released.
PAIRS = (("2.6.0", "0.21.0"), ("2.15.0", "0.29.2"))

#: What depends on the release of PyTorch or torchvision, and runs in a few minutes.
QUICK = (
    "tests/fast",
    "tests/gradients",
    "tests/optim",
    "tests/training",
    "tests/models",
    "tests/data",
    "tests/monitor",
    "tests/cli/test_train_cli.py",
    "tests/test_startup.py",
)

#: Pins of `constraints.txt` that are for its release of torch alone; torch 2.6 needs another sympy.
NOT_PINNED = ("torch", "torchvision", "sympy")

ROOT = Path(__file__).resolve().parents[1]
FACTS = (
    "import platform, torch, torchvision;"
    "print(f'python {platform.python_version()}  torch {torch.__version__}  '"
    "f'torchvision {torchvision.__version__}')"
)


def main() -> int:
    """Test in every environment, then print a line about each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", nargs="+", type=Path, help="environments that exist already")
    parser.add_argument("--processes", default="auto", help="of pytest-xdist, in each environment")
    arguments = parser.parse_args()
    environments = arguments.venv or [make_environment(*pair) for pair in PAIRS]
    answers = [test(environment.absolute(), arguments.processes) for environment in environments]
    print(f"quick suite: {' '.join(QUICK)}")
    for line, _ in answers:
        print(line)
    return int(not all(passed for _, passed in answers))


def make_environment(torch: str, torchvision: str) -> Path:
    """Install gradcli and its test extra next to a pair of releases; return the environment."""
    environment = ROOT / ".matrix" / f"torch-{torch}"
    if not (environment / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        constraints = environment / "constraints.txt"
        constraints.write_text(without_pins((ROOT / "constraints.txt").read_text()))
        pip = [str(python_of(environment)), "-m", "pip", "install", "--quiet"]
        pair = [f"torch=={torch}", f"torchvision=={torchvision}"]
        package = ["--constraint", str(constraints), "--editable", f"{ROOT}[test]"]
        subprocess.run([*pip, *pair, *package], check=True)
        (environment / "installed").touch()
    return environment


def without_pins(constraints: str) -> str:
    """Return the constraints without those in `NOT_PINNED`."""
    lines = constraints.splitlines(keepends=True)
    return "".join(line for line in lines if line.split("==")[0] not in NOT_PINNED)


def test(environment: Path, processes: str) -> tuple[str, bool]:
    """Run the quick suite in an environment; return a line about it, and whether it passed."""
    python = str(python_of(environment))
    facts = subprocess.run([python, "-c", FACTS], capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-n", processes, "--dist", "loadfile", f"--junitxml={report}"]
        done = subprocess.run(
            [python, "-m", "pytest", *options, *QUICK],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        counts = counts_of(report.read_text()) if report.exists() else "no tests ran"
    return f"{facts.strip()}  {counts}", done.returncode == 0


def counts_of(report: str) -> str:
    """Say how many tests of a JUnit report passed, failed and were skipped."""
    suite = ElementTree.fromstring(report).find("testsuite")
    assert suite is not None
    tests, failures, errors, skipped = (
        int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")
    )
    broken = failures + errors
    return f"{tests - broken - skipped} passed, {broken} failed, {skipped} skipped"


def python_of(environment: Path) -> Path:
    """Return the interpreter of an environment."""
    return environment / "bin" / "python"


if __name__ == "__main__":
    sys.exit(main())
