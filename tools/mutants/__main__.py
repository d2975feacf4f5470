"""Mutation testing: change the code in small ways, and see whether a test fails.

    python tools/mutants                      the mutants of the sample that have not run yet
    python tools/mutants --limit 50           at most fifty of them, then the report so far
    python tools/mutants --survivors          those again that survived, after tests were added

`make mutants` calls it. A sample of mutants is drawn with a seed (`draw.py` says which changes are
left out). `record.py` runs each test file once and notes which tests run which lines. Each mutant
is then put into a copy of the project, never into the working tree, and the tests that run its
statement try to kill it, file by file: the module's own file first, then those that run most of it,
up to 60 seconds of processor time. A statement that runs while its module is imported is tried by
the tests that run a line in which its name occurs. A mutant whose tests take three times as long as
without it counts as killed.

Results are appended to `.mutants/results.jsonl`, and a second start goes on with what is missing;
a mutant runs again when anything in its file changes. The report has the killed share with its
Wilson interval (95%), and every survivor, with a reason if `tools/mutants/reasons.json` has one: a
survivor counts as one, reason or not. Exits with 1 if less than 85% were killed.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import json
import math
import os
import py_compile
import re
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import draw
import pytest
from coverage.python import PythonParser
from forks import in_forks, load_shared, pytest_in_fork
from record import record

ROOMS = ["gradcli/gradients", "gradcli/diagnosis", "gradcli/comparison", "gradcli/runs"]
SEED = 20261128
COUNT = 400
ENOUGH = 0.85
#: What most tests import; loading it takes longer than many a test file.
SHARED = ["torch", "scipy.stats", "omegaconf", "typer", "rich.console", "matplotlib"]
#: Processor time of the tests that try one mutant.
SECONDS = 60.0
#: Tests of the tools, the pages and the wheel: slow, and not about the rooms.
NOT_USED = ("torture", "tour", "readme", "matrix", "wheel", "benchmarks", "checkouts", "mutants")
#: Lines that only a type checker reads.
NOT_COUNTED = r"if TYPE_CHECKING:"
NOT_COPIED = (".git", ".venv", ".mutants", ".matrix", "__pycache__", ".*_cache", "build", "dist")

Knowledge = dict[str, dict[str, Any]]
"""What `record` returns, by test file."""


class Chosen:
    """A plugin of pytest that runs some tests alone, quickest first."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort and choose in place, as pytest wants it."""
        chosen = [item for item in items if item.nodeid in self.seconds]
        items[:] = sorted(chosen, key=lambda item: self.seconds[item.nodeid])


def main() -> int:
    """Run what is missing, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2])
    parser.add_argument("--rooms", nargs="+", default=ROOMS, help="folders that are changed")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--count", type=int, default=COUNT, help="size of the sample")
    parser.add_argument("--limit", type=int, help="of mutants that this start runs")
    parser.add_argument("--survivors", action="store_true", help="run the survivors again")
    parser.add_argument("--tests", nargs="+", help="test files, instead of all that are about code")
    parser.add_argument("--shared", nargs="*", default=SHARED, help="modules that are loaded once")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    arguments = parser.parse_args()
    root = arguments.root.absolute()
    results = root / ".mutants" / "results.jsonl"
    mutants = draw.draw(root, arguments.rooms, arguments.count, arguments.seed)
    known = known_results(results)
    missing = [mutant for mutant in mutants if needs_run(mutant, known, arguments.survivors)]
    jobs = arguments.jobs
    tests = arguments.tests or test_files(root)
    kept = root / ".mutants" / "tests"
    with tempfile.TemporaryDirectory() as folder:
        copies = [copied(root, Path(folder) / str(number)) for number in range(jobs)]
        load_shared(arguments.shared)

        def record_some(number: int) -> None:
            for file in tests[number::jobs]:
                record(copies[number], file, kept)

        def try_some(number: int) -> None:
            for mutant in missing[: arguments.limit][number::jobs]:
                outcome = try_to_kill(copies[number], mutant, chosen_tests(root, mutant, knowledge))
                with results.open("a") as file:
                    found = {"mutant": mutant.digest, "name": mutant.name, **outcome}
                    file.write(json.dumps(found) + "\n")
                print(f"{outcome['outcome']:9} {mutant.name}", flush=True)

        in_forks(jobs, record_some)
        knowledge = {file: record(copies[0], file, kept) for file in tests}
        in_forks(jobs, try_some)
        known = known_results(results)
    print(covered_lines(root, knowledge))
    ran = [(mutant, known[mutant.digest]) for mutant in mutants if mutant.digest in known]
    print(f"seed {arguments.seed}, {len(ran)} of {len(mutants)} mutants ran")
    return report(ran, reasons(root))


def covered_lines(root: Path, knowledge: Knowledge) -> str:
    """Say how many lines of `gradcli` the tests run."""
    ran: dict[str, set[int]] = defaultdict(set)
    for known in knowledge.values():
        for path, lines in known["lines"].items():
            ran[path] |= set(map(int, lines))
    count = hit = 0
    for path in sorted((root / "gradcli").rglob("*.py")):
        parser = PythonParser(filename=str(path), exclude=NOT_COUNTED)
        parser.parse_source()
        count += len(parser.statements)
        known = parser.translate_lines(ran[path.relative_to(root).as_posix()])
        hit += len(parser.statements & known)
    return f"{hit} of {count} lines of gradcli are run: {hit / max(count, 1):.1%}"


def known_results(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last result of each mutant."""
    path.parent.mkdir(exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    return {result["mutant"]: result for result in map(json.loads, lines)}


def needs_run(mutant: draw.Mutant, known: dict[str, dict[str, Any]], survivors: bool) -> bool:
    """Say whether a mutant has not run, or survived and is to run again."""
    if mutant.digest not in known:
        return True
    return survivors and known[mutant.digest]["outcome"] == "survived"


def copied(root: Path, folder: Path) -> Path:
    """Copy the project, with bytecode that is checked by what the source says, not by its time."""
    copy = folder.resolve() / "project"
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns(*NOT_COPIED))
    checked = py_compile.PycInvalidationMode.CHECKED_HASH
    for package in {part.split("/")[0] for part in ("gradcli", *ROOMS)}:
        compileall.compile_dir(copy / package, quiet=2, invalidation_mode=checked)
    return copy


def test_files(root: Path) -> list[str]:
    """Return the test files, relative to the root."""
    files = sorted((root / "tests").rglob("test_*.py"))
    used = [file for file in files if not any(word in file.stem for word in NOT_USED)]
    return [file.relative_to(root).as_posix() for file in used]


def chosen_tests(root: Path, mutant: draw.Mutant, knowledge: Knowledge) -> dict[str, set[str]]:
    """Return the tests that may notice a mutant, by test file, in the order in which they run."""
    places = lines_to_run(root, mutant)
    chosen = {}
    for file, known in knowledge.items():
        ran: set[str] = set()
        for path, lines in places.items():
            runs = known["lines"].get(path, {})
            numbers = {number for line in lines for number in runs.get(str(line), ())}
            ran |= {known["ran"][number] for number in numbers}
        tests = set(known["tests"]) if file in ran else ran & known["tests"].keys()
        if tests:
            chosen[file] = tests
    covered = {file: len(knowledge[file]["lines"].get(mutant.file, ())) for file in chosen}

    mirrored = "test_" + Path(mutant.file).name

    def order(file: str) -> tuple[bool, int, float]:
        # In tenths of what any file runs: of those that run as much, the quickest.
        share = round(10 * covered[file] / max(1, *covered.values()))
        return Path(file).name != mirrored, -share, seconds(knowledge[file], chosen[file])

    left = SECONDS
    kept = {}
    for file in sorted(chosen, key=order):
        tests = chosen[file]
        times = knowledge[file]["tests"]
        for test in sorted(tests, key=lambda test: -times[test]):
            if seconds(knowledge[file], tests) <= left:
                break
            tests = tests - {test}
        if tests:
            kept[file] = {test: times[test] for test in tests}
            left -= seconds(knowledge[file], tests)
    return kept


def seconds(known: dict[str, Any], tests: set[str]) -> float:
    """Return how long some tests of a file take, with starting and collecting."""
    return known["other_seconds"] + sum(known["tests"][test] for test in tests)


def lines_to_run(root: Path, mutant: draw.Mutant) -> dict[str, set[int]]:
    """Return the lines whose tests may notice a mutant, by file.

    They are those of its statement. If that runs while the module is imported, they are the lines
    with the name that the statement defines, or all lines of functions of its file without one.
    """
    tree = ast.parse((root / mutant.file).read_text())
    first, last = mutant.statement
    functions = [
        (node.body[0].lineno, node.end_lineno or node.lineno)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    if any(start <= first <= end for start, end in functions):
        return {mutant.file: set(range(first, last + 1))}
    names = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.lineno == first
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    ]
    if not names:
        return {mutant.file: {line for start, end in functions for line in range(start, end + 1)}}
    word = re.compile(rf"\b({'|'.join(names)})\b")
    package = root / mutant.file.split("/")[0]
    return {
        path.relative_to(root).as_posix(): {
            number
            for number, line in enumerate(path.read_text().splitlines(), start=1)
            if word.search(line)
        }
        for path in package.rglob("*.py")
    }


def try_to_kill(
    copy: Path, mutant: draw.Mutant, chosen: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """Put a mutant into the copy, run its tests until one fails, and take it out again."""
    path = copy / mutant.file
    original = path.read_text()
    path.write_text(mutant.source)
    outcome, by = "survived", ""
    try:
        for file, times in chosen.items():
            limit = 3 * sum(times.values()) + 20
            ending = pytest_in_fork(copy, ["-x", file], [Chosen(times)], limit)
            if ending.code not in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
                outcome, by = "killed" if ending.code is not None else "timeout", file
                break
    finally:
        path.write_text(original)
    tests = sum(map(len, chosen.values()))
    return {"line": mutant.line, "outcome": outcome, "by": by, "tests": tests}


def reasons(root: Path) -> dict[str, str]:
    """Return why some mutants cannot be killed, by name."""
    path = root / "tools" / "mutants" / "reasons.json"
    return json.loads(path.read_text()) if path.exists() else {}


def report(ran: list[tuple[draw.Mutant, dict[str, Any]]], reasons: dict[str, str]) -> int:
    """Print the killed share and the survivors; return the exit code."""
    survivors = [(one, result) for one, result in ran if result["outcome"] == "survived"]
    for mutant, result in survivors:
        tried = f"survived {result['tests']} tests" if result["tests"] else "no test runs it"
        print(f"\n{mutant.file}:{mutant.line}  {tried}\n  - {mutant.before}\n  + {mutant.after}")
        print(f"  {reasons.get(mutant.name, 'no reason given')}")
    killed = len(ran) - len(survivors)
    share = killed / len(ran) if ran else math.nan
    low, high = wilson(killed, len(ran))
    print(f"\nkilled {killed} of {len(ran)}: {share:.1%}, 95% interval {low:.1%} to {high:.1%}")
    return 0 if share >= ENOUGH else 1


def wilson(successes: int, count: int, deviations: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's interval of a share, at 95%."""
    if count == 0:
        return 0.0, 1.0
    squared = deviations**2 / count
    middle = (successes / count + squared / 2) / (1 + squared)
    variance = successes * (count - successes) / count**3 + squared / 4 / count
    half = deviations * math.sqrt(variance) / (1 + squared)
    return max(0.0, middle - half), min(1.0, middle + half)


if __name__ == "__main__":
    sys.exit(main())
