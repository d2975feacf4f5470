"""Run every benchmark of this folder, and write what they print to `RESULTS.md` next to them.

    python benchmarks/run_all.py      # or `make bench`; leave the machine alone meanwhile

The other scripts of the folder run one after the other, each in its own process with its default
arguments. A script passes if it exits with 0; it exits with 1 if something exceeds its limit. A
failure does not stop the next ones; if any failed, this script exits with 1. The file names the
machine, the versions and the commands, so that anybody can repeat them.
"""

from __future__ import annotations

import ast
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
RESULTS = FOLDER / "RESULTS.md"
PACKAGES = ("torch", "torchvision", "numpy", "lightning")


@dataclass(frozen=True)
class Outcome:
    """What became of a benchmark."""

    path: Path
    exit_code: int
    seconds: float
    output: str
    errors: str

    @property
    def command(self) -> str:
        """What a user types."""
        return f"python {self.path.relative_to(ROOT)}"

    @property
    def verdict(self) -> str:
        """How it went, as text."""
        if self.exit_code == 0:
            skipped = any(line.startswith("skipped") for line in self.output.splitlines())
            return "passed, a part skipped" if skipped else "passed"
        # An exception ends a script with 1, too.
        if self.exit_code == 1 and "Traceback" not in self.errors:
            return "a limit exceeded"
        return f"broken, exit code {self.exit_code}"

    @property
    def section(self) -> str:
        """What RESULTS.md says of it."""
        summary = (ast.get_docstring(ast.parse(self.path.read_text())) or "").partition("\n")[0]
        said = self.output if self.exit_code == 0 else self.output + self.errors
        title = f"## {self.path.stem}: {self.verdict}"
        return f"{title}\n\n{summary}\n\n```text\n$ {self.command}\n{said.rstrip()}\n```\n"


def run(path: Path) -> Outcome:
    """Run one benchmark to its end."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    return Outcome(path, done.returncode, seconds, done.stdout, done.stderr)


def facts() -> Iterator[tuple[str, str]]:
    """Yield what the figures depend on, by name."""
    yield "date", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    yield "machine", machine()
    yield "system", platform.platform()
    yield "load", f"{os.getloadavg()[0]:.2f}, over the minute before the first benchmark"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in os.environ:
            yield name, os.environ[name]
    yield "gradcli", f"{metadata.version('gradcli')}, {commit()}"
    yield "Python", platform.python_version()
    for package in PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            yield package, "not installed"


def machine() -> str:
    """Return the processor, its cores and the memory."""
    cores = f"{os.cpu_count()} cores"
    if hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < (os.cpu_count() or 1):
        cores += f", {len(os.sched_getaffinity(0))} of them allowed"
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{processor()}, {cores}, {gibibytes:.0f} GiB of memory"


def processor() -> str:
    """Return the processor's name, or at least its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str:
    """Return the commit that is checked out."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run([*command, "--dirty"], capture_output=True, text=True, check=False)
    except OSError:
        return "no git"
    return f"commit {answer.stdout.strip()}" if answer.returncode == 0 else "not in git"


def table(rows: list[tuple[str, ...]]) -> str:
    """Return rows as Markdown, the first one as the heading."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "| --- " * len(rows[0]) + "|")
    return "\n".join(lines) + "\n"


def write(outcomes: list[Outcome], where: str) -> None:
    """Write what has come out so far."""
    summary = [(one.path.stem, one.verdict, f"{one.seconds:.0f}") for one in outcomes]
    parts = [
        "# Results of the benchmarks\n",
        "Written by `make bench`; what each measures, and how, its script says.\n",
        where,
        table([("benchmark", "result", "seconds"), *summary]),
        *(outcome.section for outcome in outcomes),
    ]
    RESULTS.write_text("\n".join(parts))


def main() -> int:
    where = table([("", ""), *facts()])
    outcomes: list[Outcome] = []
    for path in sorted(FOLDER.glob("*.py")):
        if path == Path(__file__).resolve():
            continue
        print(f"{path.stem:12} ", end="", flush=True)
        outcomes.append(run(path))
        print(f"{outcomes[-1].verdict}, {outcomes[-1].seconds:.0f} s", flush=True)
        write(outcomes, where)  # so that one that hangs does not lose the others
    print(f"written to {RESULTS.relative_to(ROOT)}")
    return int(any(outcome.exit_code for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
