"""Try to break gradcli's promises, and print how often that was tried, and survived.

    python tools/torture                    all rows
    python tools/torture --short            a few cases of each, within a minute
    python tools/torture kills --seed 17    one case again, in a folder that is kept
    python tools/torture --page             all rows, and their table in docs/reliability.md

Stops at the first row of which a case did not survive, after naming each such case, and exits
with 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# Children are forked: what is loaded before, they share.
import rows
from children import in_forks

from gradcli.errors import UserError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


@dataclass(frozen=True)
class Result:
    """What became of one case."""

    seed: int
    tried: int
    problem: str
    """Empty if it survived."""


def main() -> None:
    """Run the rows that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(rows.ROWS))
    parser.add_argument("--short", action="store_true", help="a few cases of each row")
    parser.add_argument("--seed", type=int, help="this case alone, in a folder that is kept")
    parser.add_argument("--page", action="store_true", help=f"write the table of {PAGE.name}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.rows) - rows.ROWS.keys())
    if unknown:
        parser.error(f"no row {', '.join(unknown)}: choose from {', '.join(rows.ROWS)}")
    if arguments.page and arguments.rows:
        parser.error("--page writes the table of all rows")
    table = ["| what | tried | survived | seconds | command |", "| --- | --- | --- | --- | --- |"]
    for name in arguments.rows or rows.ROWS:
        row = rows.ROWS[name]
        if arguments.short and not row.short:
            continue
        if arguments.seed is not None:
            print(run_case(name, True, arguments.seed))
            continue
        began = time.monotonic()
        with in_forks(arguments.jobs) as pool:
            seeds = range(row.short if arguments.short else row.cases)
            results = list(pool.map(partial(run_case, name, False), seeds))
        seconds = time.monotonic() - began
        broken = [result for result in results if result.problem]
        tried = sum(result.tried for result in results)
        survived = sum(result.tried for result in results if not result.problem)
        line = f"{name:12} {tried:5} tried  {survived:5} survived  {seconds:4.0f} s  {row.what}"
        print(line, flush=True)  # a row takes minutes
        for result in broken:
            print(f"  python tools/torture {name} --seed {result.seed}: {result.problem}")
        if broken:
            sys.exit(1)
        command = f"`python tools/torture {name}`"
        table.append(f"| {row.what} | {tried:,} | {survived:,} | {seconds:.0f} | {command} |")
    if arguments.page:
        write_table(table)


def write_table(lines: list[str]) -> None:
    """Put a table between the marks of the page."""
    before, mark, rest = PAGE.read_text().partition("<!-- torture -->\n")
    _, end, after = rest.partition("<!-- /torture -->")
    PAGE.write_text(before + mark + "\n".join([*lines, end]) + after)


def run_case(name: str, keep: bool, seed: int) -> Result:
    """Run one case of a row in a new folder."""
    folder = Path(tempfile.mkdtemp(prefix=f"torture-{name}-"))
    try:
        tried = rows.ROWS[name].run(seed, folder)
    except (AssertionError, UserError) as error:  # a UserError: a run that cannot be read
        return Result(seed, 1, f"{error} ({folder})")
    if not keep:
        shutil.rmtree(folder)
    return Result(seed, tried, "")


if __name__ == "__main__":
    main()
