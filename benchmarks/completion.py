"""How long Tab takes: gradcli's completion against that of a bare Typer program.

    python benchmarks/completion.py [--blocks 20]

Whole processes run in blocks, each case once per block (A B C A B C), so a machine whose speed
drifts slows all of them. Each is timed from outside, from before the process starts to its end. For
each case it prints the median over the blocks of its time divided by that of the bare program in
the same block, with a 95% interval (bootstrap over the blocks).

The bare program has two commands, and completes the name of one by Typer's own means. gradcli
completes a command, an option, an override, the keys of an option of a user's own folder, and the
name of a run in a folder with 10,000 of them.

Exits with 1 if a median is above its limit.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path

from startup import BARE_HELP, COMMAND, Case, compare, copy_package, run

#: The same program as for `--help`, but under a name, by which Typer is asked.
BARE = f"import sys; sys.argv[0] = 'bare'{BARE_HELP}"
ASKS_TYPER = {"_BARE_COMPLETE": "complete_bash", "COMP_WORDS": "bare tr", "COMP_CWORD": "1"}
RUNS = 10_000
#: What one Tab may take, times a bare program's.
LIMIT = 1.3


def bare(folder: Path) -> float:
    took, printed = run(["-c", BARE], folder, **ASKS_TYPER)
    assert printed.split() == ["train"], printed
    return took


def tab(folder: Path, expected: str, *words: str) -> float:
    asks = {"_GRADCLI_COMPLETION": "fish", "GRADCLI_RUNS": str(folder / "runs")}
    took, printed = run(["-c", COMMAND, "gradcli", *words], folder, **asks)
    assert expected in printed, printed
    return took


def write_runs(folder: Path) -> None:
    """Write the directories of many runs, as far as completion reads them."""
    info = {"model": "mlp", "optimizer": "adam", "data": {"name": "mnist5k"}}
    state = json.dumps({"status": "finished", "info": info, "result": {"test": 0.95}})
    for number in range(RUNS):
        path = folder / "runs" / f"20260101T{number:06}Z-mlp-adam-{number:04x}"
        path.mkdir(parents=True)
        (path / "run.json").write_text(state)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_package(folder)
        write_runs(folder)
        (folder / "my" / "optimizer").mkdir(parents=True)
        (folder / "my" / "optimizer" / "sign.yaml").write_text("_target_: mine.Sign\nrate: 1\n")
        ask = partial(tab, folder)
        show = ("runs", "show")
        own = ("train", "--config-dir", "my", "optimizer=sign", "optimizer.")
        cases = [
            Case("a bare Typer program, a command", partial(bare, folder), None),
            Case("a command", partial(ask, "train", "tra"), LIMIT),
            Case("an option", partial(ask, "--optimizers", "compare-optimizers", "--op"), LIMIT),
            Case("an override", partial(ask, "optimizer=adam", "train", "optimizer=ad"), LIMIT),
            Case("a key of a folder of one's own", partial(ask, "optimizer.rate=", *own), LIMIT),
            Case("a run of 10,000", partial(ask, "latest", *show, ""), LIMIT),
            Case(
                "a run of 10,000 by its name",
                partial(ask, "12e2", "runs", "show", "mlp-adam-12e"),
                LIMIT,
            ),
        ]
        return int(not compare(cases, arguments.blocks))


if __name__ == "__main__":
    sys.exit(main())
