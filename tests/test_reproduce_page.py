"""docs/reproduce.md: its commands work as written, and its table is what the benchmark compares."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from gradcli.config import compose_train
from gradcli.config.config_files import EXPERIMENT_GROUP, ConfigFiles

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^gradcli (.*)$", PAGE, re.MULTILINE)
SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "reproduce.py"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works(command, gradcli, runs_dir):
    words = shlex.split(command)
    if "fmnist" in command:  # which tests have not got
        assert compose_train(words[1:]).config.data.name == "fashion_mnist"
        return
    if words[0] == "train" and "--show-config" not in words:
        words += ["max_steps=2", "--no-live"]
    answer = gradcli(*words)
    assert answer.code == 0, answer.err


def test_the_page_names_every_experiment_and_has_commands():
    assert len(COMMANDS) == 5
    shipped = set(ConfigFiles().options(EXPERIMENT_GROUP)) - {"none"}
    assert set(re.findall(r"`(deepobs/\w+)`", PAGE)) == shipped
    assert "docs/reproduce.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_published_numbers_of_the_page_are_those_of_the_benchmark():
    for one in SCRIPT["PUBLISHED"]:
        rate = one.overrides[0].partition("=")[2]
        published = f"| {rate} | {one.mean:.4f} ± {one.deviation:.4f} |"
        (line,) = [line for line in PAGE.splitlines() if published in line]
        reached, seeds, away = [cell.strip() for cell in line.split("|")[4:7]]
        assert len(seeds.split()) == 3
        mean = sum(map(float, seeds.split())) / 3
        assert float(reached) == pytest.approx(mean, abs=1.1e-4)
        assert float(away) == pytest.approx((mean - one.mean) / one.deviation, abs=0.02)
        assert SCRIPT["is_reached"](one, float(reached))
        compose_train([SCRIPT["EXPERIMENT"], f"optimizer={one.optimizer}", *one.overrides])


@pytest.mark.parametrize(("away", "reached"), [(0, True), (1.99, True), (-1.99, True)])
@pytest.mark.parametrize("sign", [1, -1])
def test_within_two_published_deviations_is_reached(away, reached, sign):
    for one in SCRIPT["PUBLISHED"]:
        assert SCRIPT["is_reached"](one, one.mean + sign * away * one.deviation) is reached
        assert not SCRIPT["is_reached"](one, one.mean + sign * 2.01 * one.deviation)


def test_the_verdict_is_that_of_the_mean():
    sgd = SCRIPT["PUBLISHED"][0]
    assert "| not reached |" in SCRIPT["row"](sgd, [0.80, 0.84], [0.81, 0.85])
    row = SCRIPT["row"](sgd, [0.84, 0.86], [0.83, 0.85])
    assert "| 0.8500 | 0.8400 | 0.8400 0.8600 | -0.38 | reached |" in row
