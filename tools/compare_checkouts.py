"""Show that two checkouts compute the same: run the same commands in both, compare the results.

    python tools/compare_checkouts.py OLD NEW [--allow KEY]... [--allow-from FILE]
                                      [--python PATH] [--only NAME]... [--skip NAME]...

Each case of `checkout_cases.py` runs in both checkouts at once, in an empty folder each, on the
bundled sample, so that nothing is downloaded. Compared bit by bit: every tensor of every
checkpoint, and every column of the step logs, which are decoded here. Compared value by value,
types included: what the commands print, `config.yaml`, every `.json` and `.jsonl` file, and the
names of all files. Of pictures only the names are compared.

Names of runs, ids of trials, and the paths of the folders are replaced before the comparison. Of
the values under `VOLATILE` only the kind is compared, so that a key that vanishes is still found.

`--allow KEY` accepts differences of values that are not arrays, at KEY and below. KEY is a path
such as `findings[].message`, with `[]` for any index; `config.yaml:model` accepts them in that file
alone, `stdout:findings` in what is printed. An array may be allowed to appear, but never to change
or to vanish. `--allow-from FILE` reads a key per line, and skips blank lines and `#` comments:

    python tools/compare_checkouts.py ../released . --allow-from tools/allowed_differences.txt

`--only` runs the cases with this in their names; `--skip` leaves out the case of this name.

Exit code: 0 if all cases are identical, 1 otherwise, 2 if the command line is wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from checkout_cases import CASES, Case
from tree_differences import Tree, all_differences, is_allowed

#: Keys whose values differ between two runs of the same code, with the reason.
VOLATILE = {
    "started": "time of day",
    "heartbeat": "time of day",
    "resumed": "times of day",
    "when": "time of day",
    "pid": "process id",
    "seconds": "duration",
    "seconds_first_step": "duration",
    "seconds_total": "duration",
    "seconds_train": "duration",
    "seconds_to_target": "duration",
    "phase_seconds": "durations",
    "phases": "shares of a duration",
    "steps_per_second": "inverse of a duration",
    "passes": "a probe's duration, divided by that of a training step",
    "log_bytes": "sizes of logs that hold durations as text",
}
#: Keys below which nothing is volatile: `checkpoint.seconds` is a setting.
SETTINGS = ("checkpoint",)

_RUN_NAME = re.compile(r"\b\d{8}T\d{6}Z-([\w-]+?)-[0-9a-f]{4}\b")
_NOT_FINITE = ("nan", "inf", "-inf")
_SHOWN = 12  # differences printed of one case
_TIMEOUT = 300  # seconds for one command


def run_case(case: Case, checkout: Path, folder: Path, python: str) -> dict[str, Tree]:
    """Run a case's commands and return the documents that they left, see `read_documents`.

    Args:
        case: what to run.
        checkout: the code to run it with.
        folder: an empty one.
        python: the interpreter.

    Raises:
        RuntimeError: if a command ends with another exit code than the case says.
    """
    for name, text in case.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    printed = []
    for words in case.commands:
        done = subprocess.run(
            [python, *words],
            cwd=folder,
            env=environment(checkout, folder.parent / "cache"),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT,
        )
        if done.returncode != case.exit_code:
            command = " ".join(words)
            raise RuntimeError(
                f"{checkout}: '{command}' ended with {done.returncode}, not {case.exit_code}:\n"
                f"{done.stderr.strip()}"
            )
        printed.append(done.stdout)
    return read_documents(folder, checkout, printed)


def environment(checkout: Path, cache: Path) -> dict[str, str]:
    """Return this process's environment, with `gradcli` from `checkout` and no user settings."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("GRADCLI")
    }
    return {**inherited, "PYTHONPATH": str(checkout), "XDG_CACHE_HOME": str(cache), "COLUMNS": "80"}


def require_checkout(checkout: Path, python: str) -> None:
    """Refuse a folder whose code would not be what runs.

    Raises:
        ValueError: if Python imports `gradcli` from elsewhere, or cannot.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, "-c", "import gradcli; print(gradcli.__file__)"],
            cwd=folder,
            env=environment(checkout, Path(folder)),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.stdout.strip() != str(checkout / "gradcli" / "__init__.py"):
        raise ValueError(
            f"{checkout} is not a checkout: Python imports gradcli from "
            f"{done.stdout.strip() or 'nowhere'}"
        )


def read_documents(folder: Path, checkout: Path, printed: Sequence[str]) -> dict[str, Tree]:
    """Return everything that is compared of one side of a case, by document name.

    Args:
        folder: where the commands ran.
        checkout: the code that they ran with.
        printed: the standard output of each command; `1/stdout` is that of the first.
    """
    aliases = {str(folder): "FOLDER", str(checkout): "CHECKOUT", **trial_aliases(printed)}
    documents: dict[str, Tree] = {
        f"{number}/stdout": masked(parse_output(replaced(text, aliases)))
        for number, text in enumerate(printed, 1)
    }
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = dict(zip(paths, document_names(folder, paths, aliases), strict=True))
    documents["files"] = dict.fromkeys(names.values(), "a file")
    for path, name in names.items():
        if path.name == "steps.bin":
            documents[name] = read_columns(path)
        elif path.suffix == ".pt":
            documents[name] = masked(read_checkpoint(path))
        elif path.suffix == ".jsonl":
            lines = replaced(path.read_text(), aliases).splitlines()
            documents[name] = masked([json.loads(line) for line in lines])
        elif path.suffix == ".json":
            documents[name] = masked(json.loads(replaced(path.read_text(), aliases)))
        elif path.suffix == ".yaml":
            documents[name] = yaml.safe_load(replaced(path.read_text(), aliases))
    return documents


def trial_aliases(printed: Sequence[str]) -> dict[str, str]:
    """Return a name by position for the id of each trial that a comparison printed."""
    results = [parse_output(text) for text in printed]
    trials = [
        one for result in results if isinstance(result, dict) for one in result.get("trials", [])
    ]
    ids = dict.fromkeys(trial["id"] for trial in trials)
    return {id_: f"TRIAL{position}" for position, id_ in enumerate(ids)}


def replaced(text: str, aliases: Mapping[str, str]) -> str:
    """Return the text without what differs by chance: names of runs, and the keys of `aliases`."""
    for word, alias in aliases.items():
        text = text.replace(word, alias)
    return _RUN_NAME.sub(r"TIME-\1-ID", text)


def document_names(folder: Path, paths: Sequence[Path], aliases: Mapping[str, str]) -> list[str]:
    """Return the paths within `folder`, with positions for the names of runs: `runs[0]/run.json`.

    Args:
        folder: of the case.
        paths: sorted, so that runs come in the order in which they began.
        aliases: see `replaced`.
    """
    runs: dict[str, str] = {}
    for path in paths:
        for part in path.relative_to(folder).parts:
            if _RUN_NAME.fullmatch(part):
                runs.setdefault(part, f"[{len(runs)}]")
    texts = []
    for path in paths:
        text = path.relative_to(folder).as_posix()
        for name, position in runs.items():
            text = text.replace(f"/{name}", position)
        texts.append(replaced(text, aliases))
    return texts


def parse_output(text: str) -> Tree:
    """Return what was printed as JSON if it is JSON, else as a list of lines."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.splitlines()


def read_columns(path: Path) -> Tree:
    """Return the columns of a step log by name, of whole rows only.

    Raises:
        ValueError: if the description next to it has a schema other than 1.
    """
    description = json.loads(path.with_suffix(".json").read_text())
    if description["schema"] != 1:
        raise ValueError(f"{path} has schema {description['schema']}; this tool reads schema 1.")
    columns = [(one["name"], one["type"], tuple(one["shape"])) for one in description["columns"]]
    row = np.dtype(columns)
    rows = np.fromfile(path, row, count=path.stat().st_size // row.itemsize)
    return {name: rows[name] for name in row.names or ()}


def read_checkpoint(path: Path) -> Tree:
    """Return all that a checkpoint holds, its tensors as arrays."""
    import torch  # takes seconds to load

    def plain(value: Any) -> Tree:
        match value:
            case torch.Tensor():
                return value.numpy()
            case dict():
                return {str(key): plain(item) for key, item in value.items()}
            case list() | tuple():
                return [plain(item) for item in value]
        return value

    return plain(torch.load(path, map_location="cpu", weights_only=True))


def masked(tree: Tree) -> Tree:
    """Return the tree with the kinds of volatile values in their places."""
    match tree:
        case dict():
            return {
                key: value if key in SETTINGS else (_kinds if key in VOLATILE else masked)(value)
                for key, value in tree.items()
            }
        case list():
            return [masked(item) for item in tree]
    return tree


def _kinds(tree: Tree) -> Tree:
    """Return the tree with `<number>` for each finite number and `<text>` for each text."""
    match tree:
        case dict():
            return {key: _kinds(value) for key, value in tree.items()}
        case list():
            return [_kinds(item) for item in tree]
        case bool() | None:
            return tree
        case int() | float():
            return "<number>" if math.isfinite(tree) else str(tree)
        case str():
            return tree if tree in _NOT_FINITE else "<text>"
    return tree


def compare_case(
    case: Case, checkouts: tuple[Path, Path], python: str, allowed: Sequence[str]
) -> list[str]:
    """Run a case in both checkouts and return what differs, one line each; empty if they agree."""
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(2) as pool:
        folders = [Path(temporary).resolve() / side / "case" for side in ("a", "b")]
        for folder in folders:
            folder.mkdir(parents=True)
        sides = [
            pool.submit(run_case, case, checkout, folder, python)
            for checkout, folder in zip(checkouts, folders, strict=True)
        ]
        problems = [str(side.exception()) for side in sides if side.exception()]
        if problems:
            return problems
        old, new = (side.result() for side in sides)
    left = [one for one in all_differences(old, new) if not is_allowed(one, allowed)]
    # Weights and columns first: what is printed follows from them.
    return [str(one) for one in sorted(left, key=lambda one: not one.of_numbers)]


def read_allowed(path: Path) -> list[str]:
    """Return the keys that a file for `--allow-from` holds.

    Raises:
        OSError: if the file cannot be read.
    """
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main() -> int:
    """Compare two checkouts; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("old", type=Path, metavar="OLD", help="a checkout")
    parser.add_argument("new", type=Path, metavar="NEW", help="another one")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="KEY", help="a JSON path that may differ"
    )
    parser.add_argument(
        "--allow-from", type=Path, metavar="FILE", help="a file of such paths, one per line"
    )
    parser.add_argument("--python", default=sys.executable, metavar="PATH", help="the interpreter")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a part of a case's name"
    )
    parser.add_argument(
        "--skip", action="append", default=[], metavar="NAME", help="the whole name of a case"
    )
    options = parser.parse_args()
    checkouts = (options.old.resolve(), options.new.resolve())
    cases = [
        case
        for case in CASES
        if not options.only or any(one in case.name for one in options.only)
        if case.name not in options.skip
    ]
    unknown = set(options.skip) - {case.name for case in CASES}
    if not cases or unknown:
        parser.error(f"no case matches; there are: {', '.join(case.name for case in CASES)}")
    allowed = list(options.allow)
    try:
        if options.allow_from:
            allowed += read_allowed(options.allow_from)
        for checkout in checkouts:
            require_checkout(checkout, options.python)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    identical = 0
    for case in cases:
        found = compare_case(case, checkouts, options.python, allowed)
        identical += not found
        print(f"{'differs  ' if found else 'identical'}  {case.name}", flush=True)
        for line in found[:_SHOWN]:
            print(f"    {line}")
        if len(found) > _SHOWN:
            print(f"    and {len(found) - _SHOWN} more")
    commands = sum(len(case.commands) for case in cases)
    for name in options.skip:
        print(f"skipped    {name}")
    print(f"{len(cases)} cases ({commands} commands) compared: {identical} identical")
    return int(identical < len(cases))


if __name__ == "__main__":
    sys.exit(main())
