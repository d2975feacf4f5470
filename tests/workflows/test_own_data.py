"""A data set is added from a folder of the user's own, without touching the package."""

import sys

import pytest
import yaml

import gradcli as gc
from gradcli.config import load_config
from gradcli.data.sources import SAMPLE_FOLDER
from gradcli.runs import load_run

SHIPPED_KEYS = {"name", "val", "folder", "normalize", "drop_last"}
SMALL = ("max_steps=3", "model.hidden=[4]", "batch_size=16", "device=cpu", "epochs=1")

STRIPES = '''
"""A data set as a user writes one."""

import torch

from gradcli.data import DataSource, Split, split_dataset


class Stripes(DataSource):
    """Images that are bright in one of three columns."""

    target_score = 0.95

    def __init__(self, examples: int = 90, noise: float = 10.0):
        self.examples, self.noise = examples, noise

    def load(self, request):
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(self.examples) % 3
        images = self.noise * torch.rand((self.examples, 1, 4, 3), generator=generator)
        images[torch.arange(self.examples), 0, :, labels] += 200
        data = Split(images.to(torch.uint8), labels)
        return split_dataset(
            data,
            data[:30],
            name=request.name,
            val=request.val,
            target_score=self.target_score,
        )
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a module and an option of the group `data`; the arguments that allow it."""
    (tmp_path / "own" / "data").mkdir(parents=True)
    (tmp_path / "my_data.py").write_text(STRIPES)
    (tmp_path / "own" / "data" / "stripes.yaml").write_text(
        "_target_: my_data.Stripes\nexamples: 120\nval: 30\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")  # for the processes of trials
    yield tmp_path / "own"
    sys.modules.pop("my_data", None)


def test_it_trains_resumes_and_is_inspected_from_the_command_line(gradcli, own, runs_dir):
    allowed = ("--allow-import", "my_data")
    words = [*SMALL, "data=stripes", "data.noise=5", "data.drop_last=true"]
    answer = gradcli("train", *words, "--config-dir", str(own), *allowed, "--no-live")
    assert answer.code == 0, answer.err
    assert "stripes 90 images" in answer.err
    run = load_run(next(runs_dir.iterdir()))
    assert (run.info.data.name, run.info.data.shape, run.info.data.classes) == (
        "stripes",
        (1, 4, 3),
        3,
    )
    assert (run.info.data.train, run.info.data.val, run.info.data.test) == (90, 30, 30)
    config = load_config(run.config, where="here", allow_import=["my_data"]).config
    assert config.data.arguments == {"examples": 120, "noise": 5}
    assert config.data.drop_last
    looked_at = gradcli("inspect-gradients", "latest", "--probe", "histograms", *allowed)
    assert looked_at.code == 0, looked_at.err


def test_a_run_on_it_is_extended_and_refuses_other_data(gradcli, own, runs_dir):
    allowed = ("--allow-import", "my_data", "--quiet")
    words = [word for word in SMALL if not word.startswith("max_steps")]
    assert gradcli("train", *words, "data=stripes", "--config-dir", str(own), *allowed).code == 0
    assert gradcli("train", "--resume", "latest", "epochs=2", *allowed).code == 0
    config = next(runs_dir.iterdir()) / "config.yaml"
    config.write_text(config.read_text().replace("examples: 120", "examples: 121"))
    refused = gradcli("train", "--resume", "latest", "epochs=3", *allowed)
    assert refused.code == 2
    assert "The data set stripes has changed since then." in refused.err


def test_it_is_compared_on_in_processes_of_their_own(own, runs_dir):
    options = {"config_dir": own, "allow_import": ["my_data"], "runs_dir": runs_dir}
    comparison = gc.compare(
        *SMALL,
        "data=stripes",
        "protocol.tune=false",
        optimizers=["sgd"],
        seeds=1,
        jobs=1,
        **options,
    )
    assert comparison.summary.status == "finished"
    assert comparison.summary.info.data.name == "stripes"
    assert comparison.summary.info.target_score == 0.95
    again = gc.compare(resume=comparison.path, **options)
    assert again.path == comparison.path


def test_python_has_it_too(own, runs_dir):
    run = gc.train(*SMALL, data="stripes", config_dir=own, allow_import=["my_data"],
                   runs_dir=runs_dir)  # fmt: skip
    assert run.info.data.name == "stripes"


def test_a_file_may_give_a_shipped_class_a_name_and_a_folder(own, runs_dir):
    (own / "data" / "my_digits.yaml").write_text(
        f"_target_: gradcli.data.sources.Idx\nfolder: {SAMPLE_FOLDER}\nval: 100\n"
    )
    run = gc.train(*SMALL, data="my_digits", config_dir=own, runs_dir=runs_dir)
    assert (run.info.data.name, run.info.data.train) == ("my_digits", 4400)
    data = load_config(run.config, where="here").config.data
    assert (data.target, data.folder) == ("gradcli.data.sources.Idx", str(SAMPLE_FOLDER))


# Mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.nosie=5", "no key 'data.nosie'"),
        ("data.noise=loud", "Stripes expects a number"),
        ("data.val=many", "not a whole number or null"),
        ("data.normalize=no", "must be one of mean_std, 0-1, none"),
    ],
)
def test_its_keys_are_checked_like_those_of_any_group(own, runs_dir, override, says):
    with pytest.raises(gc.UserError, match=says) as caught:
        gc.train(*SMALL, "data=stripes", override, config_dir=own, allow_import=["my_data"])
    assert str(own / "data" / "stripes.yaml") in caught.value.where


def test_it_must_be_allowed_and_of_the_right_kind(own, runs_dir):
    with pytest.raises(gc.UserError, match="not in a package") as caught:
        gc.train(*SMALL, data="stripes", config_dir=own, runs_dir=runs_dir)
    assert caught.value.hint.startswith("--allow-import my_data")
    (own / "data" / "stripes.yaml").write_text("_target_: torch.nn.Linear\n")
    with pytest.raises(gc.UserError, match=r"does not derive from gradcli\.data\.DataSource"):
        gc.train(*SMALL, data="stripes", config_dir=own, runs_dir=runs_dir)
    assert not runs_dir.exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("raise RuntimeError('the disk is gone')", "RuntimeError: the disk is gone"),
        ("raise ValueError", "ValueError"),
        ("import json; json.loads('no')", "JSONDecodeError: Expecting value"),
        ("split_dataset(None, None, name='x', val=0)", "AttributeError: 'NoneType'"),
    ],
)
def test_an_exception_in_its_load_is_answered_with_its_file_and_line(
    gradcli, own, runs_dir, line, says
):
    module = own.parent / "my_data.py"
    before, head, after = STRIPES.partition("    def load(self, request):\n")
    module.write_text(f"{before}{head}        {line}\n{after}")
    number = (before + head).count("\n") + 1
    options = ["data=stripes", "--config-dir", str(own), "--allow-import", "my_data"]
    for command in (["train"], ["compare-optimizers", "engine=serial"]):
        answer = gradcli(*command, *options)
        assert answer.code == 2
        assert f"Stripes.load failed: {says}" in answer.message
        assert f"where: {module}:{number}" in answer.message
        assert "Traceback" not in answer.err
    assert not runs_dir.exists()


# What is stored of a shipped one -----------------------------------------------------------------


def test_a_shipped_data_set_is_stored_by_its_name_alone(runs_dir):
    run = gc.train("data=mnist5k", *SMALL, runs_dir=runs_dir)
    assert set(yaml.safe_load(run.config)["data"]) == SHIPPED_KEYS


def test_a_config_may_also_name_the_class_of_a_shipped_one(runs_dir):
    run = gc.train("data=mnist5k", *SMALL, runs_dir=runs_dir)
    plain = yaml.safe_load(run.config)
    plain["data"]["_target_"] = "gradcli.data.sources.Mnist5k"
    again = load_config(yaml.safe_dump(plain, sort_keys=False), where="here")
    assert again.yaml() == load_config(run.config, where="here").yaml()


def test_a_name_that_no_shipped_data_set_has_is_answered_with_the_nearest(runs_dir):
    run = gc.train("data=mnist5k", *SMALL, runs_dir=runs_dir)
    with pytest.raises(gc.UserError, match="no data set named 'mnist5'") as caught:
        load_config(run.config.replace("name: mnist5k", "name: mnist5"), where="here")
    assert "mnist5k" in caught.value.choices


def test_an_inspection_proposes_commands_that_can_rebuild_the_run(gradcli, own, runs_dir):
    words = [*SMALL, "data=stripes", "--config-dir", str(own), "--allow-import", "my_data"]
    assert gradcli("train", *words, "--no-live").code == 0
    proposed = " ".join(gradcli("inspect-gradients", "latest").out.split())
    assert "--allow-import my_data" in proposed
    assert "--config-dir" in proposed
