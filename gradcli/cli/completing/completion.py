"""`gradcli completion`: what makes a shell complete words of gradcli's, printed or installed."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from gradcli.cli.option_values import require_one_of
from gradcli.cli.options import write_result
from gradcli.errors import UserError

EPILOG = (
    "Tab then completes commands, options and their values, overrides such as optimizer=adam, and "
    "names of runs. Without --install the script is printed, for a place of your own."
)
SHELLS: Final = ("bash", "zsh", "fish")
_SCRIPTS: Final = Path(__file__).with_name("scripts")


@dataclass(frozen=True)
class ScriptPlace:
    """Where a shell finds a script: in `file`, which `startup` must name unless it is None."""

    file: Path
    startup: Path | None

    @property
    def line(self) -> str:
        """The line of the startup file that runs the script."""
        return shlex.join(["source", str(self.file)])


def completion(
    shell: Annotated[
        str | None,
        typer.Argument(
            metavar="SHELL", help="bash, zsh or fish; by default $SHELL.", show_default=False
        ),
    ] = None,
    install: Annotated[
        bool,
        typer.Option("--install", help="Write it to where the shell finds it, and say where."),
    ] = False,
) -> None:
    """Complete commands, options, overrides and names of runs with Tab, in bash, zsh or fish."""
    chosen = _chosen(shell)
    script = (_SCRIPTS / f"completion.{chosen}").read_text(encoding="utf-8")
    if not install:
        write_result(script.removesuffix("\n"))
        return
    place = place_of(chosen)
    place.file.parent.mkdir(parents=True, exist_ok=True)
    place.file.write_text(script, encoding="utf-8")
    write_result(f"wrote {place.file}")
    if place.startup is not None and add_line(place.startup, place.line):
        write_result(f"added to {place.startup}: {place.line}")
    write_result(f"New terminals complete gradcli; for this one: {place.line}")


def _chosen(shell: str | None) -> str:
    """Return the shell that is meant.

    Raises:
        UserError: if it is not one of those that are served, or cannot be told.
    """
    if shell is not None:
        require_one_of("SHELL", shell, list(SHELLS))
        return shell
    own = Path(os.environ.get("SHELL", "")).name
    if own not in SHELLS:
        raise UserError(
            f"$SHELL is '{own}'." if own else "$SHELL does not say which shell you use.",
            where="gradcli completion",
            choices=[f"gradcli completion {one}" for one in SHELLS],
            hint="gradcli completion bash",
        )
    return own


def place_of(shell: str) -> ScriptPlace:
    """Return where a shell finds its script."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if shell == "fish":
        return ScriptPlace(config / "fish" / "completions" / "gradcli.fish", None)
    folder = home if shell == "bash" else Path(os.environ.get("ZDOTDIR") or home)
    return ScriptPlace(data / "gradcli" / f"completion.{shell}", folder / f".{shell}rc")


def add_line(file: Path, line: str) -> bool:
    """Add a line to the end of a file unless it has it; return whether it was added."""
    text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.exists() else ""
    if line in text.splitlines():
        return False
    with file.open("a", encoding="utf-8") as end:
        end.write(f"{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n")
    return True
