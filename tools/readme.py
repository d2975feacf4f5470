"""The documents' examples: finds them, runs them, and writes their real output below them.

    python tools/readme.py [FILE]...   # README.md and the pages with examples unless told otherwise

An example is a fenced block that begins with ```console and holds commands after `$ `: `gradcli`,
or `python` with a file of `docs/examples/`. After `console` may follow `exit=N`, the exit code that
the commands end with (0 unless said), `lines=N`, how much of the output is shown, `from=WORD`, the
beginning of the first line that is shown, `section=LABEL`, to show only what stands beside this
label, and `labels`: only the lines' first words are compared, because which of several close scores
is the best may differ between processors. All commands of one document run in order in one folder
with nothing but `docs/examples/` in it, and without a data folder, so that they see what a new user
sees.

What else is generated in a document, `generated_parts.py` fills in.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = _ROOT / "docs" / "examples"
DOCUMENTS = (
    _ROOT / "README.md",
    _ROOT / "docs" / "gradients.md",
    _ROOT / "docs" / "diagnosis.md",
    _ROOT / "docs" / "searching.md",
)
_BLOCK = re.compile(r"^```console(?P<options>[^\n]*)\n(?P<body>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Example:
    """A block of commands with what the document says they print."""

    options: str
    commands: tuple[str, ...]
    text: str

    @property
    def exit_code(self) -> int:
        """The exit code that the commands end with."""
        found = re.search(r"exit=(\d+)", self.options)
        return int(found[1]) if found else 0

    @property
    def shown_lines(self) -> int | None:
        """How many lines of output are shown; None is all."""
        found = re.search(r"lines=(\d+)", self.options)
        return int(found[1]) if found else None

    @property
    def section(self) -> str:
        """The label of the part of the output that is shown; empty for all of it."""
        found = re.search(r"section=([\w-]+)", self.options)
        return found[1] if found else ""

    @property
    def first_word(self) -> str:
        """What the first line of output that is shown begins with; empty is any."""
        found = re.search(r"from=(\w+)", self.options)
        return found[1] if found else ""


def examples(document: str) -> list[Example]:
    """Return the examples of a document, in order."""
    return [
        Example(
            block["options"],
            tuple(line[2:] for line in block["body"].splitlines() if line.startswith("$ ")),
            block["body"],
        )
        for block in _BLOCK.finditer(document)
    ]


def run_example(example: Example, folder: Path) -> str:
    """Run an example's commands in `folder` and return the block's text with their output.

    Raises:
        RuntimeError: if a command ends with another exit code than the document says.
    """
    text = ""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADCLI_")}
    for command in example.commands:
        words = shlex.split(command)
        if words[0] not in ("gradcli", "python"):
            raise RuntimeError(f"'{command}' is neither a command of gradcli nor of Python")
        done = subprocess.run(
            [sys.executable, *(words[1:] if words[0] == "python" else ["-m", *words])],
            cwd=folder,
            env={**environment, "COLUMNS": "80", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != example.exit_code:
            raise RuntimeError(f"'{command}' ended with {done.returncode}:\n{done.stderr}")
        # A failing command says why on stderr; of others that is the progress.
        output = done.stdout or ("" if words[0] == "python" else done.stderr)
        lines = output.rstrip().splitlines()
        while lines and not lines[0].startswith(example.first_word):
            del lines[0]
        if example.section and lines:
            lines = section_of(lines, example.section)
        if example.shown_lines is not None and len(lines) > example.shown_lines:
            lines = [line[:76] + "…" for line in lines[: example.shown_lines]]
        text += "".join(f"{line}\n" for line in (f"$ {command}", *lines))
    return text


def section_of(lines: list[str], label: str) -> list[str]:
    """Return the line that begins with a label, and those beneath it that begin with none.

    Raises:
        RuntimeError: if there is no such line.
    """
    first = next((at for at, line in enumerate(lines) if line.startswith(f"{label} ")), None)
    if first is None:
        raise RuntimeError(f"no '{label}' in:\n" + "\n".join(lines))
    rest = itertools.takewhile(lambda line: line.startswith(" "), lines[first + 1 :])
    return [lines[first], *rest]


def skeleton(text: str, example: Example) -> list[str]:
    """Return what must be as the document says: words without numbers, bars and run names."""
    if "labels" in example.options:
        labels = {line.split()[0] for line in text.splitlines() if line[:1].isalpha()}
        # Whether there is anything to be cautious of depends on which is the best, too.
        return sorted(labels - {"caution"})
    text = re.sub(r"\d{8}T\d{6}Z-[\w-]+?-[0-9a-f]{4}\b", "RUN", text)
    text = re.sub(r"\btrials/[0-9a-f]{12}\b", "TRIAL", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "WHEN", text)
    text = re.sub(r"[█▓▒░▚·]+", "BAR", text)
    text = re.sub(r"[○●◉·]", "", text)
    text = re.sub(r"[-+]?\d[\d,.]*(e[-+]?\d+)?%?", "N", text)
    # What takes a fast machine milliseconds may take a slow one seconds.
    text = re.sub(r"\bN\s+(ms|s|min|h)\b", "TIME", text)
    return text.split()


def main() -> None:
    """Rewrite documents with the output of their commands."""
    from generated_parts import filled

    for path in map(Path, sys.argv[1:] or DOCUMENTS):
        document = filled(path.read_text())
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(EXAMPLES, folder, dirs_exist_ok=True)
            for example in examples(document):
                document = document.replace(example.text, run_example(example, Path(folder)), 1)
        path.write_text(document)


if __name__ == "__main__":
    main()
