"""Every command in the README is run, and prints what the README shows, numbers aside."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gradcli
from gradcli.config.config_files import GROUPS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()

_spec = importlib.util.spec_from_file_location("readme", ROOT / "tools" / "readme.py")
readme = importlib.util.module_from_spec(_spec)
sys.modules["readme"] = readme
_spec.loader.exec_module(readme)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which all examples run, one after the other, as a reader would."""
    return tmp_path_factory.mktemp("readme")


@pytest.mark.parametrize(
    "example", readme.examples(README), ids=lambda example: example.commands[0]
)
def test_examples_print_what_the_readme_shows(example, folder):
    printed = readme.run_example(example, folder)
    assert readme.skeleton(printed, example) == readme.skeleton(example.text, example)


def test_resume_commands(folder):
    block = re.search(r"```sh\n(gradcli train --resume.*?)```", README, re.S)[1]
    for line in block.splitlines():
        words = shlex.split(line.partition("#")[0])
        command = [sys.executable, "-m", *words, "--quiet"]
        run = {"cwd": folder, "capture_output": True, "text": True, "check": False}
        if "epochs" in line:
            assert subprocess.run(command, **run).returncode == 0
        else:
            subprocess.run([sys.executable, "-m", "gradcli", "train", "data=mnist5k", "-q"], **run)
            done = subprocess.run(command, **run)
            assert done.returncode == 2
            assert "has already finished" in done.stderr


def test_comparisons(tmp_path, gradcli):
    block = re.search(r"```sh\n(gradcli compare-optimizers.*?)```", README, re.S)[1]
    small = ["data=mnist5k", "max_steps=2", "model.hidden=[8]", "--quiet"]
    for line in block.splitlines():
        words = shlex.split(line.partition("#")[0])[1:]
        assert gradcli(*words, *small, "--runs-dir", str(tmp_path)).code == 0


def test_labels_filters_and_sets(folder, gradcli, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GRADCLI_RUNS", raising=False)
    for words in ("model=deep_mlp name=deep_mlp-adam", "model=mlp name=mlp-adam"):
        assert gradcli("train", "data=mnist5k", "max_steps=1", *words.split(), "-q").code == 0
    block = re.search(r"```sh\n(gradcli runs label.*?)```", README, re.S)[1]
    assert len(block.splitlines()) == 3
    for line in block.splitlines():
        answer = gradcli(*shlex.split(line)[1:])
        assert answer.code == 0, answer.err


def test_pruning(folder, gradcli, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GRADCLI_RUNS", raising=False)
    words = ["data=mnist5k", "max_steps=1", "-q", "--tag", "baseline"]
    assert gradcli("train", *words).code == 0
    page = (ROOT / "docs" / "reliability.md").read_text()
    for text in (README, page):
        lines = re.search(r"```sh\n(gradcli runs prune.*?)```", text, re.S)[1].splitlines()
        assert len(lines) >= 2
        for line in lines:
            answer = gradcli(*shlex.split(line, comments=True)[1:], "--dry-run")
            assert answer.code == 0, answer.err


def test_probes_while_training(tmp_path, gradcli):
    block = re.search(r"```sh\n(gradcli train 'monitor.*?)```", README, re.S)[1]
    small = ["data=mnist5k", "max_steps=2", "model.hidden=[8]"]
    for line in block.splitlines():
        words = shlex.split(line, comments=True)[1:]
        more = small if words[0] == "train" else []
        assert gradcli(*words, *more, "--quiet", "--runs-dir", str(tmp_path)).code == 0


def test_python_examples(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRADCLI_RUNS", raising=False)
    monitored, own, trained = re.findall(r"```python\n(.*?)```", README, re.S)
    exec(compile(trained, "README.md", "exec"), {})
    assert float(capsys.readouterr().out) > 0
    exec(compile(monitored, "README.md", "exec"), {})
    run = gradcli.load_run(capsys.readouterr().out.strip())
    assert (run.status, len(run.steps)) == ("finished", 30)
    exec(compile(own, "README.md", "exec"), {})
    metric, score = capsys.readouterr().out.split()
    assert metric == "mse"
    assert float(score) > 0


def test_a_users_own_option_is_three_lines(tmp_path, monkeypatch, gradcli):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my" / "optimizer").mkdir(parents=True)
    yaml = re.search(r"```yaml\n(.*?)```", README, re.S)[1]
    assert len(yaml.splitlines()) == 3
    (tmp_path / "my" / "optimizer" / "asgd.yaml").write_text(yaml)
    command = re.search(r"`gradcli (train --config-dir my [^`]*)`", README)[1]
    keyword = re.search(r"\(`(optimizer\.alpha=[\d.]+)`\)", README)[1]
    words = [*command.split(), keyword, "data=mnist5k", "max_steps=3", "--quiet"]
    assert gradcli(*words, "--runs-dir", str(tmp_path)).code == 0


def test_other_commands_that_the_readme_names(gradcli, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("GRADCLI_RUNS", raising=False)
    named = set(re.findall(r"`(gradcli [^`]*)`", README)) - {"gradcli"}
    plain = {name for name in named if "my optimizer" not in name}
    assert plain == {
        "gradcli configs",
        "gradcli inspect-gradients latest",
        "gradcli train --help",
        "gradcli train --show-config",
        "gradcli runs show latest",
    }
    assert gradcli("train", "data=mnist5k", "max_steps=1", "--quiet").code == 0
    for command in plain:
        assert gradcli(*shlex.split(command)[1:]).code == 0


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^make (\w+)|`make (\w+)`", README, re.M))
    assert {"run", "test"} <= {first or second for first, second in targets}
    for first, second in targets:
        assert re.search(rf"^{first or second}:", makefile, re.M)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_table_names_every_option_and_the_map_every_room():
    for group in GROUPS:
        row = next(line for line in README.splitlines() if line.startswith(f"| `{group}`"))
        options = {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")}
        assert set(re.findall(r"`(\w+)`", row.split("|")[2])) == options
    for room in (ROOT / "gradcli").iterdir():
        if room.is_dir() and (room / "__init__.py").exists():
            assert f"  {room.name}/ " in README


def test_pictures_exist():
    for path in re.findall(r"!\[[^]]*\]\(([^)]*)\)", README):
        assert (ROOT / path).is_file()
