"""Tab in real shells: what it inserts, what it lists, and what the program then gets."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gradcli

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
        return json.loads(done.stdout)

    def listing(self, typed, *expected):
        """Type keys, with a pause for each answer, and return what the screen shows until then."""
        shown = ""
        for key in typed:
            self.process.send(key)
        for text in expected:
            self.process.expect_exact(text)
            shown += self.process.before + text
        self.process.send("\x03")
        return shown


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


def test_the_meaning_of_proposals_is_shown(terminal):
    first, second = "Adam with decoupled weight decay", "AdamW with a slow average"
    terminal.listing(["gradcli train optimizer=ad", TAB, TAB], first, second)


def test_runs_are_listed_with_their_status(terminal, runs_dir_with_runs):
    terminal.listing(["gradcli runs show ", TAB, TAB], "latest", "finished, compares sgd, adam")


def test_a_run_is_completed_by_its_name(terminal, runs_dir_with_runs):
    (run,) = (one.name for one in runs_dir_with_runs.glob("*-one-*"))
    line = terminal.line(f"gradcli train --resume on{TAB}")
    assert terminal.words(line) == ["train", "--resume", run.partition("-")[2]]
    line = terminal.line(f"gradcli runs show {run[-4:]}{TAB}")
    assert terminal.words(line) == ["runs", "show", run]


def test_an_arm_of_a_comparison_is_completed(terminal, runs_dir_with_runs):
    (arms,) = (one.name for one in runs_dir_with_runs.glob("*-arms-*"))
    name = arms.partition("-")[2]
    line = terminal.line(f"gradcli runs compare arm{TAB}")
    assert terminal.words(line) == ["runs", "compare", f"{name}:"]
    line = terminal.line(f"gradcli runs compare {name}:ad{TAB}")
    assert terminal.words(line) == ["runs", "compare", f"{name}:adam"]


NASTY = [
    "a b",
    "it's",
    "$(touch hacked)",
    "`touch hacked`",
    "a;touch hacked",
    "*",
    "#x",
    "(y)",
    "~z",
]


@pytest.mark.parametrize("name", NASTY)
def test_any_name_of_a_run_arrives_as_it_is(terminal, tmp_path, name):
    run = f"20260101T000000Z-{name}-aaaa"
    (tmp_path / "odd" / run).mkdir(parents=True)
    (tmp_path / "odd" / run / "run.json").write_text('{"status": "finished"}')
    line = terminal.line(f"gradcli runs show --runs-dir odd 2026{TAB}")
    assert terminal.words(line) == ["runs", "show", "--runs-dir", "odd", run]
    if "'" not in name:
        line = terminal.line(f"gradcli runs show --runs-dir odd '2026{TAB}")
        closing = "'" if line.count("'") % 2 else ""
        assert terminal.words(line + closing)[-1].rstrip() == run
    assert not (tmp_path / "hacked").exists()


def test_a_config_folder_on_the_line(terminal, tmp_path):
    (tmp_path / "my own" / "data").mkdir(parents=True)
    (tmp_path / "my own" / "data" / "brightness.yaml").write_text("_target_: a.B\nscale: 3\n")
    begin = "gradcli train --config-dir 'my own' data=bright"
    line = terminal.line(begin + TAB)
    assert terminal.words(line)[-1] == "data=brightness"
    line = terminal.line(f"{begin}ness data.s{TAB}")
    assert terminal.words(line)[-1] == "data.scale="


def test_paths_are_the_shells_own(terminal, tmp_path):
    (tmp_path / "my data").mkdir()
    (tmp_path / "my data" / "a.npz").touch()
    line = terminal.line(f"gradcli train --data-dir my{TAB}")
    assert terminal.words(line)[-1].rstrip("/") == "my data"
    line = terminal.line(f"gradcli train data=npz data.path=my\\ data/a.{TAB}")
    assert terminal.words(line)[-1] == "data.path=my data/a.npz"


@pytest.mark.parametrize(
    "line", ["gradcli nothing ", "gradcli train optimizer=nothing", "gradcli runs show nothing-"]
)
def test_nothing_to_propose_is_silent(terminal, line):
    assert terminal.line(line + TAB) == line
    assert "Traceback" not in terminal.process.before


def test_what_is_broken_is_silent(terminal, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "broken" / "20260101T000000Z-x-aaaa").mkdir(parents=True)
    (tmp_path / "broken" / "20260101T000000Z-x-aaaa" / "run.json").write_bytes(b"\xff{")
    (tmp_path / "own" / "optimizer").mkdir(parents=True)
    (tmp_path / "own" / "optimizer" / "mine.yaml").write_bytes(b"\xff: [")
    cases = {
        "gradcli runs show --runs-dir file 2": "2",
        "gradcli runs show --runs-dir missing 2": "2",
        "gradcli runs show --runs-dir broken 2": "20260101T000000Z-x-aaaa",
        "gradcli train --config-dir file optimizer=rms": "optimizer=rmsprop",
        "gradcli train --config-dir own optimizer=min": "optimizer=mine",
        "gradcli train --config-dir own optimizer=mine optimizer.": "optimizer.",
    }
    for typed, expected in cases.items():
        line = terminal.line(typed + TAB)
        assert terminal.words(line)[-1] == expected, typed
    terminal.process.sendline("echo end of it")
    terminal.process.expect_exact("end of it")
    assert "Traceback" not in terminal.process.before


def test_the_script_is_installed_and_found(terminal, tmp_path):
    command = [str(BIN / "gradcli"), "completion", terminal.shell, "--install"]
    subprocess.run(command, env=terminal.environment, check=True, capture_output=True)
    rc = {"bash": ["bash", "--rcfile", str(tmp_path / ".bashrc"), "-i"], "zsh": ["zsh", "-i"]}
    start, *options = rc.get(terminal.shell, ["fish", "-i"])
    shell = pexpect.spawn(
        start,
        options,
        env={**terminal.environment, "ZDOTDIR": str(tmp_path)},
        cwd=str(tmp_path),
        dimensions=(40, 100),
        encoding="utf-8",
        timeout=60,
    )
    shell.delaybeforesend = 0.3
    shell.sendline("echo rea''dy")
    shell.expect_exact("ready")
    shell.send(f"gradcli --vers{TAB}\r")
    shell.expect_exact(f"gradcli {gradcli.__version__}")
    shell.close(force=True)
