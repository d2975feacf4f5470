"""docs/clusters.md: its commands work, as far as without a cluster, and its tables are complete."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from gradcli.config import compose_comparison
from gradcli.config.config_files import shipped_configs
from gradcli.runs import ComparisonDirectory

PAGE = (Path(__file__).parents[1] / "docs" / "clusters.md").read_text(encoding="utf-8")
TO_RUN = re.search(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1].splitlines()
COMMANDS = re.findall(r"^gradcli compare-optimizers (--engine .*)$", PAGE, re.MULTILINE)
SMALL = ("--optimizers", "sgd", "--lrs", "0.1", "--seeds", "2", "model.hidden=[4]", "max_steps=9")
FINISHED = 0


def section(name):
    return PAGE.partition(f"## {name}\n")[2].partition("\n## ")[0]


def defaults(engine):
    (folder,) = (path for path in [shipped_configs() / "engine"] if path.is_dir())
    keys = yaml.safe_load((folder / f"{engine}.yaml").read_text(encoding="utf-8"))
    del keys["_target_"]
    return keys


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # the process that leads outlives its parent
)
def test_a_comparison_is_left_looked_at_and_stopped(gradcli, runs_dir):
    detach, look, stop = (shlex.split(line)[1:] for line in TO_RUN)
    answer = gradcli(*detach, *SMALL)
    assert answer.code == 0, answer.err
    (path,) = runs_dir.glob("*overnight*")
    assert (path / "leader.log").exists()
    answer = gradcli(*look, "--no-live")
    assert answer.code == FINISHED, answer.err
    assert ComparisonDirectory(path).status == "finished"
    answer = gradcli(*stop)
    assert answer.code == FINISHED, answer.err
    assert ComparisonDirectory(path).status == "finished"


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_asks_of_a_cluster_is_understood(command):
    _, engine, *words = shlex.split(command.partition("#")[0])
    config = compose_comparison([f"engine={engine}", *words]).config
    for word in words:
        key, _, value = word.partition("=")
        if key.startswith("engine."):
            assert config.engine.arguments[key.removeprefix("engine.")] == yaml.safe_load(value)


def test_the_page_has_a_command_for_each_cluster():
    assert len(TO_RUN) == 3
    assert {shlex.split(command)[1] for command in COMMANDS} == {"slurm", "ray"}


@pytest.mark.parametrize(("engine", "heading"), [("slurm", "Slurm"), ("ray", "Ray")])
def test_each_key_of_an_engine_is_in_its_table(engine, heading):
    named = re.findall(r"`engine\.([a-z_]+)", section(heading).partition("\n\n**")[0])
    assert set(named) == set(defaults(engine))


def test_the_defaults_of_ray_are_those_of_its_option():
    rows = re.findall(r"^\| `engine\.([a-z_]+)` \| `(\S+)` \|", section("Ray"), re.MULTILINE)
    assert {key: yaml.safe_load(value) for key, value in rows} == defaults("ray")
