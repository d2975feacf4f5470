"""Tab in real shells: what it inserts, what it lists, and what the program then gets."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pexpect = pytest.importorskip("pexpect")

BIN = Path(sys.executable).parent
TAB, DUMP, CLEAR = "\t", "\x0f", "\x15"  # Ctrl-O, Ctrl-U

#: How each shell is started, and how it is told to load the script and to write its line down.
SHELLS = {
    "bash": (
        ["bash", "--norc", "--noprofile", "-i"],
        """PS1='ready> '; bind 'set enable-bracketed-paste off'; bind 'set bell-style none'
        source {script}
        dump() {{ printf '%s' "$READLINE_LINE" > {dump}.new; mv {dump}.new {dump}; }}
        bind -x '"\\C-o": dump'
        """,
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        """PS1='ready> '; unsetopt PROMPT_SP; zstyle ':completion:*' menu no
        autoload -Uz compinit; compinit -D -u; source {script}
        dump() {{ print -rn -- "$BUFFER" > {dump}.new; mv {dump}.new {dump} }}
        zle -N dump; bindkey '^O' dump; bindkey '^U' kill-whole-line
        """,
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        """function fish_prompt; echo 'ready> '; end
        source {script}
        bind \\co 'commandline > {dump}.new; mv {dump}.new {dump}'
        bind \\cu 'commandline ""'
        """,
    ),
}


class Terminal:
    """A shell in a terminal of 100 columns, in which a line can be typed and looked at."""

    def __init__(self, shell, folder, **environment):
        self.dump = folder / "line"
        command, setup = SHELLS[shell]
        script = folder / f"completion.{shell}"
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != "LS_COLORS"},
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "XDG_DATA_HOME": str(folder / "data"),
            "TERM": "xterm",
            **environment,
        }
        gradcli = [str(BIN / "gradcli"), "completion", shell]
        script.write_text(
            subprocess.run(
                gradcli, env=self.environment, capture_output=True, text=True, check=True
            ).stdout
        )
        start = folder / f"start.{shell}"
        start.write_text(setup.format(script=script, dump=self.dump))
        self.process = pexpect.spawn(
            command[0],
            command[1:],
            env=self.environment,
            cwd=str(folder),
            dimensions=(40, 100),
            encoding="utf-8",
            timeout=60,
        )
        self.process.delaybeforesend = 0.2
        self.process.sendline(f"source {start}")
        self.process.expect("ready> ")
        self.shell = shell

    def line(self, typed):
        """Return what the line is after the keys, and leave it empty."""
        self.dump.unlink(missing_ok=True)
        self.process.send(typed)
        self.process.send(DUMP)
        until = time.monotonic() + 60
        while not self.dump.exists():
            assert time.monotonic() < until, f"the shell did not answer: {self.process.before}"
            time.sleep(0.02)
        self.process.send("\x05" + CLEAR)
        return self.dump.read_text().removesuffix("\n")

    def words(self, line):
        """Return the words that a program gets from a line."""
        show = [sys.executable, "-c", "import sys, json; print(json.dumps(sys.argv[1:]))"]
        text = line.replace("gradcli", shlex.join(show), 1)
        done = subprocess.run(
            [self.shell, "-c", text], capture_output=True, text=True, env=self.environment
        )
        assert done.returncode == 0, done.stderr
        return __import__("json").loads(done.stdout)

    def listing(self, typed, *expected):
        """Type keys, and wait for each of the texts on the screen."""
        self.process.send(typed)
        for text in expected:
            self.process.expect_exact(text)
        self.process.send("\x03")
        self.process.expect("ready> ")


@pytest.fixture(params=SHELLS)
def terminal(request, tmp_path, runs_dir_with_runs):
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    one = Terminal(request.param, tmp_path, GRADCLI_RUNS=str(runs_dir_with_runs))
    yield one
    one.process.close(force=True)


CASES = [
    ("gradcli tra", ["train"]),
    ("gradcli compare-optimizers --opt", ["compare-optimizers", "--optimizers"]),
    ("gradcli train optimizer=adamw", ["train", "optimizer=adamw"]),
    ("gradcli train optimizer=sch", ["train", "optimizer=schedule_free_"]),
    ("gradcli train optimizer=rms", ["train", "optimizer=rmsprop"]),
    (
        "gradcli train optimizer=sgd optimizer.w",
        ["train", "optimizer=sgd", "optimizer.weight_decay="],
    ),
    ("gradcli train optimizer.l", ["train", "optimizer.lr="]),
    ("gradcli train optimizer.lr=", ["train", "optimizer.lr=0.002"]),
    ("gradcli train --optimizer=rms", ["train", "--optimizer=rmsprop"]),
    ("gradcli train -o rms", ["train", "-o", "rmsprop"]),
    ("gradcli train --device mp", ["train", "--device", "mps"]),
    ("gradcli runs export --format js", ["runs", "export", "--format", "jsonl"]),
    ("gradcli compare-optimizers --engine se", ["compare-optimizers", "--engine", "serial"]),
    ("gradcli compare-optimizers --protocol th", ["compare-optimizers", "--protocol", "thorough"]),
    (
        "gradcli compare-optimizers --optimizers sgd,rms",
        ["compare-optimizers", "--optimizers", "sgd,rmsprop"],
    ),
    (
        "gradcli compare-optimizers optimizers=[sgd,rms",
        ["compare-optimizers", "optimizers=[sgd,rmsprop"],
    ),
    (
        "gradcli compare-optimizers 'optimizers=[sgd,rms",
        ["compare-optimizers", "optimizers=[sgd,rmsprop"],
    ),
    ("gradcli inspect-gradients lat", ["inspect-gradients", "latest"]),
]


def test_tab_inserts_what_the_program_is_to_get(terminal):
    for typed, expected in CASES:
        if terminal.shell == "zsh" and "=[" in typed and "'" not in typed:
            typed = typed.replace("[", "\\[")  # or it is a pattern, which zsh tries to expand
        line = terminal.line(typed + TAB)
        open_quote = "'" if line.count("'") % 2 else ""
        assert terminal.words(line + open_quote) == expected, line
