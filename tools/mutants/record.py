"""Record which tests run which lines, and how long each test takes.

Every test file runs once, in a fork of its own, under coverage.py. What it learns is kept in one
JSON file per test file, and used again until the test file or the code changes. Commands and
workers that a test starts are recorded too, if they end of their own accord.

A line may run for one test, or in a fixture that several tests share: then it counts for all tests
of the file. Only tests that pass under coverage are used.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest
from forks import pytest_in_fork

#: Seconds of processor time that one test file may take.
_LIMIT = 600.0
_ENVIRONMENT = "MUTANTS_TEST"
_SETTINGS = """[run]
data_file = {folder}/data
parallel = true
source = {copy}/gradcli
patch = _exit
concurrency = thread
context = ${{MUTANTS_TEST-}}
disable_warnings = no-data-collected, module-not-imported, module-not-measured, no-ctracer
"""


class _Recorder:
    """A plugin of pytest that runs coverage.py, and tells it which test runs."""

    def __init__(self, settings: Path, file: str, answer: Path) -> None:
        self.measured = coverage.Coverage(config_file=str(settings))
        self.file = file
        self.answer = answer
        self.seconds: dict[str, float] = {}
        self.not_passed: set[str] = set()

    def pytest_configure(self) -> None:
        self.measured.start()

    def pytest_unconfigure(self) -> None:
        self.measured.stop()
        self.measured.save()
        passed = {test: time for test, time in self.seconds.items() if test not in self.not_passed}
        self.answer.write_text(json.dumps(passed))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._enter(item.nodeid)
        start = sum(os.times()[:4])
        done = yield
        self.seconds[item.nodeid] = sum(os.times()[:4]) - start
        self._enter("")
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        test = os.environ[_ENVIRONMENT]
        if fixturedef.scope != "function":
            self._enter(self.file)
        done = yield
        self._enter(test)
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.not_passed.add(report.nodeid)

    def _enter(self, context: str) -> None:
        os.environ[_ENVIRONMENT] = context
        self.measured.switch_context(context)


def record(copy: Path, file: str, kept: Path) -> dict[str, Any]:
    """Return what is known about a test file; run it if that is not kept, or no longer true.

    The keys: `tests`, the seconds of each test that passed; `other_seconds` for starting and
    collecting; `ran`, what can run a line: a test, the test file (a fixture that several share), or
    nothing (while it is imported); `lines`, by file of the package and line, indices of `ran`.
    """
    digest = _digest(copy, file)
    path = kept / (file.replace("/", "-") + ".json")
    if path.exists() and (known := json.loads(path.read_text()))["digest"] == digest:
        return known
    with tempfile.TemporaryDirectory() as folder:
        known = {"digest": digest, **_run(copy, file, Path(folder))}
    kept.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known))
    return known


def _digest(copy: Path, file: str) -> str:
    """Return a digest of the package, of a test file, and of what all tests share."""
    files = [*sorted((copy / "gradcli").rglob("*.py")), copy / file]
    files += sorted((copy / "tests").rglob("conftest.py"))
    return hashlib.sha256(b"".join(one.read_bytes() for one in files)).hexdigest()


def _run(copy: Path, file: str, folder: Path) -> dict[str, Any]:
    settings, answer = folder / "settings", folder / "answer.json"
    settings.write_text(_SETTINGS.format(folder=folder, copy=copy))
    os.environ |= {_ENVIRONMENT: "", "COVERAGE_PROCESS_START": str(settings)}
    ending = pytest_in_fork(copy, [file], [_Recorder(settings, file, answer)], _LIMIT)
    del os.environ["COVERAGE_PROCESS_START"]
    if not answer.exists():  # it ran into the limit, or died: its tests are not used
        print(f"could not record {file}:", (copy / "pytest.log").read_text()[-2000:])
        return {"tests": {}, "other_seconds": ending.seconds, "ran": [], "lines": {}}
    tests = json.loads(answer.read_text())
    combined = coverage.Coverage(data_file=str(folder / "data"), config_file=False)
    combined.combine([str(folder)])
    ran, lines = _lines(combined.get_data(), copy)
    other = max(0.0, ending.seconds - sum(tests.values()))
    return {"tests": tests, "other_seconds": other, "ran": ran, "lines": lines}


def _lines(
    data: coverage.CoverageData, copy: Path
) -> tuple[list[str], dict[str, dict[str, list[int]]]]:
    """Return the tests, and by file and line of the package which of them ran it."""
    ran = sorted(data.measured_contexts())
    number = {context: at for at, context in enumerate(ran)}
    return ran, {
        Path(path).relative_to(copy).as_posix(): {
            str(line): sorted(number[context] for context in contexts)
            for line, contexts in data.contexts_by_lineno(path).items()
        }
        for path in data.measured_files()
    }
