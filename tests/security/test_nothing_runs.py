"""A run directory from a stranger, opened by every command: nothing in it is executed.

Python's own audit events say what was executed, imported, opened and started.
"""

import getpass
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
import torch

import gradcli as package

WATCHED = Path(__file__).with_name("watched.py")
READING = [
    ["runs", "list"],
    ["runs", "show", "finished"],
    ["runs", "show", "comparison"],
    ["runs", "diff", "finished", "interrupted"],
    ["runs", "export", "finished"],
    ["runs", "export", "comparison", "--what", "trials"],
    ["inspect-gradients", "finished"],
    ["inspect-gradients", "comparison"],
    ["configs"],
]
WRITING = [
    ["inspect-gradients", "interrupted", "--probe", "noise"],
    ["inspect-gradients", "finished", "--plot"],
    ["train", "--resume", "interrupted"],
    ["compare-optimizers", "--resume", "comparison"],
    ["runs", "rm", "--yes", "20261128T082556Z-finished-7dfc"],
]
#: Names that gradcli, Python or torch look for, should the working directory be searched.
SHADOWS = ("evil", "torch", "numpy", "yaml", "sitecustomize", "usercustomize", "gradcli")
EVIL = "import pathlib\npathlib.Path({!r}).touch()\nclass Evil: pass\n"


class Code:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def trapped(stored, tmp_path):
    """The runs of the fixtures; whatever they say about paths and packages leads into a trap."""
    trap = tmp_path / "trap"
    for folder in (trap, stored, *stored.iterdir()):
        folder.mkdir(exist_ok=True)
        for name in SHADOWS:
            (folder / f"{name}.py").write_text(EVIL.format(str(tmp_path / "ran")))
    (trap / "optimizer").mkdir()
    (trap / "optimizer" / "evil.yaml").write_text("_target_: evil.Evil\n")
    for path in [*stored.rglob("run.json"), *stored.rglob("comparison.json")]:
        state = json.loads(path.read_text())
        leading = {"config_dir": str(trap), "data_dir": str(trap), "allow_import": ["evil"]}
        path.write_text(json.dumps({**state, **leading}))
    return stored


def watch(commands, runs, tmp_path):
    """What happened while the commands ran, in the stranger's own folder."""
    home = tmp_path / "own"
    home.mkdir()
    own = dict.fromkeys(("GRADCLI_DATA", "HOME", "TMPDIR", "MPLCONFIGDIR"), str(home))
    own["XDG_CACHE_HOME"] = own["XDG_CONFIG_HOME"] = str(home)
    done = subprocess.run(
        [sys.executable, str(WATCHED), json.dumps(commands)],
        cwd=next(runs.glob("*-finished-*")),
        env={**os.environ, "GRADCLI_RUNS": str(runs), **own},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout), done.stderr


def outside(paths, *folders):
    """Those of the paths that are in none of the folders."""
    homes = [Path(folder).resolve() for folder in folders]
    return [
        path for path in paths if path and not any(Path(path).is_relative_to(one) for one in homes)
    ]


#: Where programs and what they are told about the machine come from.
OURS = (
    *(sys.prefix, sys.base_prefix, *sysconfig.get_paths().values()),
    *(Path(package.__file__).parents[1], "/proc", "/sys", "/dev", "/etc", "/usr", "/lib"),
    # PyTorch makes the folder of its compiler.
    Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}"),
)


def expect_nothing_of_theirs(seen, runs, tmp_path):
    """Nothing in the stranger's folders was executed, and nothing they point to was opened."""
    assert not (tmp_path / "ran").exists()
    files = [path for path in seen["code"] if path and not path.startswith("<")]
    assert [path for path in files if Path(path).resolve().is_relative_to(tmp_path)] == []
    assert len(files) > 100  # the hook saw what was imported
    opened = seen["read"] + seen["written"]
    assert [path for path in opened if Path(path).is_relative_to(tmp_path / "trap")] == []
    theirs = [path for path in seen["read"] if Path(path).is_relative_to(tmp_path)]
    assert [path for path in theirs if path.endswith(".py")] == []
    assert seen["network"] == []


def test_commands_that_read_execute_open_and_start_nothing_of_it(trapped, tmp_path):
    before = {path: path.read_bytes() for path in trapped.rglob("*") if path.is_file()}
    seen, _ = watch(READING, trapped, tmp_path)
    assert seen["codes"] == [0] * len(READING)
    expect_nothing_of_theirs(seen, trapped, tmp_path)
    assert seen["started"] == []
    assert outside(seen["read"], trapped, tmp_path / "own", *OURS) == []
    assert outside(seen["written"], "/dev") == []
    assert before == {path: path.read_bytes() for path in trapped.rglob("*") if path.is_file()}


def test_commands_that_train_write_only_into_it(trapped, tmp_path):
    seen, said = watch(WRITING, trapped, tmp_path)
    assert seen["codes"] == [0] * len(WRITING), said
    expect_nothing_of_theirs(seen, trapped, tmp_path)
    assert outside(seen["written"], trapped, tmp_path / "own", *OURS) == []


def _target(run, _):
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("torch.optim.", "evil."))


def _recorder(run, _):
    path = run / "config.yaml"
    path.write_text(path.read_text() + "recorders:\n  spy:\n    _target_: evil.Evil\n")


def _tag(run, mark):
    path = run / "config.yaml"
    path.write_text(path.read_text() + f"note: !!python/object/apply:os.mknod ['{mark}']\n")


def _pickle(run, mark):
    for name in ("last", "best"):
        torch.save({"model": Code(mark)}, run / "checkpoints" / f"{name}.pt")


@pytest.mark.parametrize(
    ("trap", "says"),
    [
        (_target, "'evil."),
        (_recorder, "'evil.Evil'"),
        (_tag, "not valid YAML"),
        (_pickle, "holds code, "),
    ],
)
def test_code_in_it_is_refused(trap, says, trapped, tmp_path):
    run = next(trapped.glob("*-interrupted-*"))
    trap(run, tmp_path / "ran")
    probing = ["inspect-gradients", str(run), "--probe", "noise"]
    commands = [["train", "--resume", str(run)], probing, ["runs", "list"]]
    seen, said = watch(commands, trapped, tmp_path)
    assert seen["codes"] == [2, 2, 0]
    assert says in " ".join(said.split())
    expect_nothing_of_theirs(seen, trapped, tmp_path)
