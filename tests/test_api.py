"""The Python side: what a command does, one call does, and leaves the caller as it was."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import gradcli

SMALL = ["data=mnist5k", "model.hidden=[16]", "max_steps=5"]


def test_train_and_load_run(tmp_path):
    run = gradcli.train(*SMALL, optimizer="sgd", lr=0.25, batch_size=64, runs_dir=tmp_path)
    assert run.status == "finished"
    assert run.info.optimizer == "sgd"
    assert run.info.learning_rate == 0.25
    columns = gradcli.load_run(run.path).columns()
    assert all(isinstance(column, np.ndarray) and len(column) == 5 for column in columns.values())
    assert columns["step"].tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(
        np.hypot(columns["grad_norm_before_clip/hidden1"], columns["grad_norm_before_clip/output"]),
        columns["grad_norm_before_clip"],
        rtol=1e-6,
    )
    # The shipped default schedule: a half cosine from the learning rate.
    np.testing.assert_allclose(
        columns["learning_rate"], 0.25 * (1 + np.cos(np.pi * np.arange(5) / 5)) / 2
    )


def test_random_state_and_threads_are_the_callers_own(tmp_path):
    torch.manual_seed(11)
    threads = torch.get_num_threads()
    state = torch.get_rng_state()
    gradcli.train(*SMALL, "model.dropout=0.5", "threads=1", runs_dir=tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_an_unknown_option_names_the_nearest(tmp_path):
    with pytest.raises(gradcli.UserError, match="optimiser") as error:
        gradcli.train(*SMALL, optimiser="sgd", runs_dir=tmp_path)
    assert error.value.choices[0] == "optimizer"
    assert not list(tmp_path.iterdir())


def test_inside_a_hydra_application(tmp_path):
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("rate: 0.125\n")
    (tmp_path / "app.py").write_text(
        "import hydra, gradcli\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        "from hydra.core.hydra_config import HydraConfig\n"
        "@hydra.main(version_base='1.3', config_path='conf', config_name='config')\n"
        "def main(config):\n"
        "    before = GlobalHydra.instance().hydra, HydraConfig.get().job.name\n"
        f"    run = gradcli.train(*{SMALL!r}, lr=config.rate, runs_dir='mine')\n"
        "    assert before == (GlobalHydra.instance().hydra, HydraConfig.get().job.name)\n"
        "    print(run.status, run.info.learning_rate)\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "app.py", "rate=0.5"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["finished", "0.5"]
