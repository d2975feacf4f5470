"""`gradcli configs`: every option that a command takes, and none that it does not."""

import json
import re

import pytest
import yaml

from gradcli.config import compose_train
from gradcli.config.choices import ALL_GROUPS, menu
from gradcli.config.config_files import EXPERIMENT_GROUP, LIST_GROUPS, shipped_configs


def test_every_shipped_option_is_listed_in_one_line_with_its_default(gradcli):
    answer = gradcli("configs")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    for group in ALL_GROUPS:
        assert group in lines
        for path in (shipped_configs() / group).rglob("*.yaml"):
            name = path.relative_to(shipped_configs() / group).with_suffix("")
            assert any(re.match(rf"[* ] {name}  +\S", line) for line in lines), path
    assert any(line.startswith("* adam ") for line in lines)


@pytest.mark.parametrize("columns", ["30", "80"])
def test_the_command_to_type_next_is_on_one_line(gradcli, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert gradcli("configs").out.splitlines()[-1].endswith("gradcli configs GROUP")


def test_every_option_describes_itself():
    for group, options in menu().items():
        assert sum(option.is_default for option in options) == (group not in LIST_GROUPS), group
        for option in options:
            assert option.description and option.description != option.target
            assert option.summary.endswith((".", ":")) or option.summary == option.description


def test_a_citation_does_not_end_the_sentence():
    (agc,) = [option for option in menu(group="clip")["clip"] if option.name == "agc"]
    assert agc.summary.endswith("(Brock et al. 2021).")


def test_the_keys_of_a_group_are_overrides_that_can_be_typed(gradcli):
    out = gradcli("configs", "optimizer").out
    for word in ("adam", "Kingma", "torch.optim.Adam", "configs/optimizer/adam.yaml"):
        assert word in out
    assert "* adam" in out
    typed = re.findall(r"^    (optimizer\.\S+=\S+)", out.partition("* adam\n")[2], re.MULTILINE)
    assert "optimizer.betas=[0.9,0.999]" in typed
    compose_train(["optimizer=adam", *typed[:5]])
    assert "none, batch or layer" in gradcli("configs", "model").out


def test_the_json_holds_what_the_files_hold(gradcli):
    said = json.loads(gradcli("configs", "--json").out)
    assert said["schema"] == 2
    assert [group["name"] for group in said["groups"]] == list(ALL_GROUPS)
    for group in said["groups"]:
        for option in group["options"]:
            path = shipped_configs() / group["name"] / f"{option['name']}.yaml"
            content = yaml.safe_load(path.read_text())
            assert option["target"] == content.pop("_target_", None)
            if group["name"] == EXPERIMENT_GROUP:  # as the overrides that it stands for
                assert option["keys"].get("epochs") == content.get("epochs")
            else:
                assert option["keys"] == content


def test_a_users_own_folder_adds_options(gradcli, tmp_path):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("_target_: mine.Mine\nlr: 0.1\n")
    out = gradcli("configs", "optimizer", "--config-dir", str(tmp_path)).out
    assert "mine.Mine" in out and str(tmp_path / "optimizer" / "mine.yaml") in out
    assert "optimizer.lr=0.1" in out
    (tmp_path / "optimizer" / "mine.yaml").write_text("lr: [")
    broken = gradcli("configs", "--config-dir", str(tmp_path))
    assert broken.code == 2 and "mine.yaml" in broken.err


def test_recorders_of_ones_own_are_listed_as_the_key_that_takes_them(gradcli, tmp_path):
    assert "recorders=[NAME]" in gradcli("configs").out
    assert "recorders=[NAME]" in gradcli("configs", "recorder").out
    (tmp_path / "recorder").mkdir()
    (tmp_path / "recorder" / "mine.yaml").write_text("_target_: mine.Tracker\nfolder: here\n")
    out = gradcli("configs", "recorder", "--config-dir", str(tmp_path)).out
    assert "mine.Tracker" in out and "folder: here" in out
    assert "recorder.folder" not in out  # that override is refused
    assert re.search(r"^  mine  ", gradcli("configs", "--config-dir", str(tmp_path)).out, re.M)


def test_an_unknown_group_is_an_error(gradcli):
    answer = gradcli("configs", "optimiser")
    assert (answer.code, answer.out) == (2, "")
    assert "There is no group 'optimiser'." in answer.err
    assert "try: gradcli configs optimizer" in answer.err


@pytest.mark.parametrize("command", ["train", "compare-optimizers"])
def test_help_says_where_to_look(gradcli, command):
    assert "gradcli configs" in " ".join(gradcli(command, "--help").out.split())
