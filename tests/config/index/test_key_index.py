"""The index says what Hydra composes, and what a user's own folder adds."""

import json

import pytest
from hydra import compose, initialize_config_dir

from gradcli.config.choices import ALL_GROUPS
from gradcli.config.config_files import (
    COMPARISON_GROUPS,
    EXPERIMENT_GROUP,
    GROUPS,
    RECORDER_GROUP,
    ConfigFiles,
    shipped_configs,
)
from gradcli.config.index import key_index
from gradcli.config.index.indexing import index_text
from gradcli.config.index.key_index import INDEX_FILE
from gradcli.errors import UserError

REGENERATE = "configs/ has changed; run: python -m gradcli.config.index.indexing"


def test_the_file_is_what_would_be_written_now():
    assert INDEX_FILE.read_text(encoding="utf-8") == index_text(), REGENERATE


def composed(root, *words):
    """What Hydra itself composes, with the values of tables within tables by dotted keys."""
    with initialize_config_dir(str(shipped_configs()), version_base="1.3"):
        return compose(root, list(words), return_hydra_config=True)


def leaf(config, key):
    for part in key.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize("group", [*GROUPS, *COMPARISON_GROUPS])
def test_each_value_is_the_one_that_hydra_composes(group):
    options = key_index().groups[group]
    assert set(options) == set(ConfigFiles().options(group)), REGENERATE
    root = "train" if group in GROUPS else "compare"
    for name, option in options.items():
        section = composed(root, f"{group}={name}")[group]
        not_set = {"_target_", "search"}
        assert {key.partition(".")[0] for key in option.keys} - set(section) <= {
            *("name", "val", "folder", "normalize", "drop_last")  # which data has in any case
        }
        assert set(section) - not_set <= {key.partition(".")[0] for key in option.keys}, REGENERATE
        for key, value in option.keys.items():
            if key.partition(".")[0] in section:
                assert leaf(section, key) == value, f"{group}={name} {key}: {REGENERATE}"


@pytest.mark.parametrize("root", ["train", "compare", "inspect"])
def test_a_root_has_the_defaults_that_hydra_takes(root):
    config, indexed = composed(root), key_index().roots[root]
    chosen = dict(indexed.groups)
    assert chosen.pop(EXPERIMENT_GROUP) == "none"
    assert chosen == {group: config.hydra.runtime.choices[group] for group in chosen}
    for key, value in indexed.keys.items():
        assert leaf(config, key) == value, REGENERATE
    plain = set(config) - {"hydra", *indexed.groups}
    assert plain == {key.partition(".")[0] for key in indexed.keys}


def test_every_group_is_there():
    assert set(key_index().groups) == set(ALL_GROUPS)
    assert key_index().groups[RECORDER_GROUP] == {}


def test_an_experiment_says_what_it_chooses():
    experiment = key_index().groups[EXPERIMENT_GROUP]["deepobs/mnist_mlp"]
    assert experiment.chooses["init"] == "truncated_normal"
    assert experiment.keys["model.hidden"] == [1000, 500, 100]


@pytest.fixture
def own(tmp_path):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "sign.yaml").write_text(
        "# The sign alone.\n_target_: mine.Sign\nlr: 0.1\nmore: {a: 1}\n"
        "search:\n  lr: {low: 1, high: 2}\n"
    )
    return tmp_path


def test_a_folder_of_ones_own_adds_options(own):
    option = key_index().with_own(own).groups["optimizer"]["sign"]
    assert (option.about, option.searched) == ("The sign alone.", ("lr",))
    assert option.keys == {"lr": 0.1, "more.a": 1}
    assert "sign" not in key_index().groups["optimizer"]


@pytest.mark.parametrize("content", [b"a: [", b"\xff", b"- 1", b""])
def test_a_file_that_cannot_be_read_is_an_option_without_keys(own, content):
    (own / "optimizer" / "sign.yaml").write_bytes(content)
    assert key_index().with_own(own).groups["optimizer"]["sign"].keys == {}


def test_a_folder_that_cannot_be_used_is_refused(own):
    (own / "optimizer" / "adam.yaml").write_text("lr: 1")
    with pytest.raises(UserError, match="optimizer=adam"):
        key_index().with_own(own)


def test_the_file_is_plain_json():
    json.loads(INDEX_FILE.read_text(encoding="utf-8"), parse_constant=pytest.fail)
