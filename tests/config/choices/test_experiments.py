"""An experiment stands for overrides that come before all others."""

import json
from textwrap import dedent

import pytest
import yaml

from gradcli.config import (
    annotated_yaml,
    compose_comparison,
    compose_inspection,
    compose_train,
    flattened,
)
from gradcli.config.choices import menu
from gradcli.config.config_files import EXPERIMENT_GROUP, GROUPS, ConfigFiles, shipped_configs
from gradcli.errors import UserError
from gradcli.records import DataInfo

SHIPPED = [name for name in ConfigFiles().options(EXPERIMENT_GROUP) if name != "none"]
MLP = "experiment=deepobs/mnist_mlp"

#: Of every problem of DeepOBS.
COMMON = {
    "data.val": 0,
    "data.normalize": "0-1",
    "data.drop_last": True,
    "augment": "none",
    "activation": "relu",
    "schedule": "constant",
    "schedule.warmup": 0.0,
    "clip": "none",
    "batch_size": 128,
    "max_steps": None,
    "accumulate": 1,
    "precision": "float32",
}
_MLP = {
    **{"model": "mlp", "model.hidden": [1000, 500, 100], "model.norm": "none", "epochs": 100},
    **{"model.dropout": 0.0, "model.residual": False},
    **{"init": "truncated_normal", "init.std": 0.03, "init.bias": 0.0},
}
_2C2D = {
    **{"model": "cnn_2c2d", "model.channels": [32, 64], "model.kernel_size": 5, "epochs": 100},
    **{"model.hidden": 1024, "model.dropout": 0.0},
    **{"init": "truncated_normal", "init.std": 0.05, "init.bias": 0.05},
}
EXPECTED = {
    "deepobs/mnist_logreg": {
        **{"data": "mnist", "model": "logreg", "init": "zeros", "init.bias": 0.0, "epochs": 50},
    },
    "deepobs/mnist_mlp": {"data": "mnist", **_MLP},
    "deepobs/mnist_2c2d": {"data": "mnist", **_2C2D},
    "deepobs/fmnist_mlp": {"data": "fashion_mnist", **_MLP},
    "deepobs/fmnist_2c2d": {"data": "fashion_mnist", **_2C2D},
}


def mistake(*words, **paths):
    """The error that the overrides give."""
    with pytest.raises(UserError) as caught:
        compose_train(words, **paths)
    return caught.value


@pytest.fixture
def own(tmp_path):
    """Write an experiment of the user's own; return the folder."""

    def write(text, name="mine"):
        path = tmp_path / EXPERIMENT_GROUP / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# @package _global_\n" + dedent(text))
        return tmp_path

    return write


# What an experiment sets


def test_all_that_are_shipped_are_known_here():
    assert set(SHIPPED) == EXPECTED.keys()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_composed_config_is_as_it_was_written_down(name):
    settings = flattened(compose_train([f"experiment={name}"]).plain)
    settings["data"] = settings.get("data", settings["data.name"])
    settings.setdefault("augment", "none")  # a run with that option stores no word of it
    expected = {**COMMON, **EXPECTED[name]}
    assert {key: settings[key] for key in expected} == expected
    others = flattened(compose_train().plain)
    left = settings.keys() - expected.keys() - {"data.name"}
    left = {key for key in left if not key.endswith("._target_")}
    assert {key: settings[key] for key in left} == {key: others[key] for key in left}


def test_what_is_stored_is_what_the_typed_overrides_store():
    typed = [
        *("data=fashion_mnist", "data.val=0", "data.normalize=0-1", "data.drop_last=true"),
        *("model=cnn_2c2d", "init=truncated_normal", "init.bias=0.05", "schedule=constant"),
        *("clip=none", "epochs=100"),
    ]
    assert compose_train(["experiment=deepobs/fmnist_2c2d"]).yaml() == compose_train(typed).yaml()


def test_without_an_experiment_nothing_is_said_of_one():
    plain = compose_train().plain
    assert EXPERIMENT_GROUP not in json.dumps(plain)
    assert plain["choices"].keys() == set(GROUPS) - {"augment"}
    assert compose_train(["experiment=none"]).yaml() == compose_train().yaml()


def test_the_last_experiment_wins_and_none_takes_it_back():
    assert compose_train([MLP, "experiment=deepobs/mnist_2c2d"]).config.model.option == "cnn_2c2d"
    assert compose_train([MLP, "experiment=none"]).plain == compose_train().plain


# What the user types beats it


@pytest.mark.parametrize("order", [1, -1], ids=["after", "before"])
def test_an_override_beats_it_wherever_it_stands(order):
    words = [MLP, "epochs=2", "data.val=500", "init.std=0.1", "optimizer=sgd"][::order]
    config = compose_train(words).config
    assert (config.epochs, config.data.val, config.optimizer.option) == (2, 500, "sgd")
    assert config.init.arguments == {"std": 0.1, "bias": 0.0}
    assert config.data.normalize == "0-1"


def test_another_option_takes_no_value_that_was_meant_for_the_one_before():
    config = compose_train([MLP, "model=cnn", "init=kaiming"]).config
    assert config.init.arguments == compose_train(["init=kaiming"]).config.init.arguments
    assert config.model.arguments == compose_train(["model=cnn"]).config.model.arguments
    assert config.data.drop_last


def test_naming_the_option_that_it_chooses_changes_nothing():
    same = [MLP, "data=mnist", "model=mlp", "init=truncated_normal", "clip=none"]
    assert compose_train(same).yaml() == compose_train([MLP]).yaml()


def test_other_data_are_used_as_it_says():
    data = compose_train([MLP, "data=mnist5k"]).config.data
    assert (data.name, data.val, data.normalize, data.drop_last) == ("mnist5k", 0, "0-1", True)


def test_a_key_of_it_may_be_deleted():
    assert "std" not in compose_train([MLP, "~init.std"]).config.init.arguments


def test_show_config_says_which_values_are_its_own(gradcli):
    file = "configs/experiment/deepobs/mnist_mlp.yaml"
    lines = annotated_yaml(compose_train([MLP, "epochs=1"])).splitlines()
    assert f"  val: 0  # {file}" in lines
    assert f"  hidden: [1000, 500, 100]  # {file}" in lines
    assert f"batch_size: 128  # {file}" in lines
    assert "model:  # configs/model/mlp.yaml" in lines
    assert "epochs: 1  # command line" in lines
    assert "seed: 0" in lines
    answer = gradcli("train", MLP, "epochs=1", "--show-config")
    assert answer.out.splitlines()[: len(lines)] == lines


# In the other commands


def test_a_comparison_trains_every_arm_by_it():
    words = ["experiment=deepobs/fmnist_2c2d", "protocol.tune=false", "epochs=2"]
    composed = compose_comparison(words)
    data = DataInfo("fashion_mnist", 60_000, 0, 10_000, "", (1, 28, 28), 10)
    arms = composed.arms(data)
    assert [arm.name for arm in arms] == ["sgd", "adam", "rmsprop"]
    for arm in arms:
        typed = [words[0], f"optimizer={arm.optimizer}", "epochs=2", "threads=1"]
        assert arm.composed.plain == compose_train(typed).plain
    assert compose_comparison(words[:2]).epochs(data) == 100


def test_a_comparison_that_tunes_needs_the_validation_split_that_it_leaves_out():
    with pytest.raises(UserError, match=r"data\.val=0 leaves it empty") as caught:
        compose_comparison([MLP])
    assert caught.value.hint.startswith("data.val=null")
    assert compose_comparison([MLP, "data.val=null"]).config.data.val is None


def test_all_arms_share_it():
    with pytest.raises(UserError, match="'experiment' cannot be varied"):
        compose_comparison([], ["experiment=deepobs/mnist_mlp,deepobs/mnist_2c2d"])


def test_an_inspection_may_vary_it():
    vary = ["experiment=deepobs/mnist_mlp,deepobs/mnist_2c2d"]
    models = [one.config.model.option for one in compose_inspection([], vary).variants()]
    assert models == ["mlp", "cnn_2c2d"]


def test_it_may_say_how_to_compare(own):
    folder = own("defaults: [{override /protocol: standard}]\nprotocol: {seeds: 7}\nlrs: [0.1]\n")
    composed = compose_comparison(["experiment=mine"], config_dir=folder)
    assert (composed.protocol, composed.config.protocol.seeds) == ("standard", 7)
    assert composed.config.lrs == [0.1]
    assert mistake("experiment=mine", config_dir=folder).problem == (
        "There is no group 'protocol' to choose from here."
    )


def test_the_arms_of_a_comparison_take_what_is_meant_for_their_optimizer(own):
    folder = own("defaults: [{override /optimizer: adam}]\noptimizer: {lr: 0.3, eps: 1.0e-3}\n")
    words = ["experiment=mine", "data=mnist5k", "optimizers=[sgd,adam]"]
    data = DataInfo("mnist5k", 4000, 500, 500, "", (1, 28, 28), 10)
    sgd, adam = compose_comparison(words, config_dir=folder).arms(data)
    assert sgd.composed.config.optimizer.arguments["lr"] == 0.5
    assert adam.composed.config.optimizer.arguments["eps"] == 1e-3


# One's own


def test_values_of_every_kind_are_set(own):
    folder = own(
        """
        defaults:
          - override /optimizer: sgd
          - override schedule: step
        name: 'it''s "mine", #1'
        optimizer: {lr: 1e-3, nesterov: false, momentum: .9}
        model: {hidden: [], residual: false}
        monitor: {probes: [noise], probes_at: [start, 7]}
        max_steps: null
        batch_size: ${epochs}
        """,
        "a/b/mine",
    )
    config = compose_train(["experiment=a/b/mine", "epochs=7"], config_dir=folder).config
    assert config.name == 'it\'s "mine", #1'
    assert config.optimizer.arguments | {"lr": 0.001, "nesterov": False, "momentum": 0.9} == (
        config.optimizer.arguments
    )
    assert config.schedule.option == "step"
    assert config.model.arguments["hidden"] == []
    assert config.monitor.probes_at == ["start", 7]
    assert (config.max_steps, config.batch_size) == (None, 7)


def test_a_schedule_that_it_chooses_is_as_wanted_as_one_that_is_typed(own):
    pytest.importorskip("schedulefree", reason="it is in the extra `optimizers`")
    folder = own("defaults: [{override /schedule: cosine}]\n")
    words = ["optimizer=schedule_free_sgd"]
    assert compose_train(words).config.schedule.option == "constant"
    chosen = compose_train(["experiment=mine", *words], config_dir=folder)
    assert chosen.config.schedule.option == "cosine"


@pytest.mark.parametrize(
    ("text", "problem", "nearest"),
    [
        ("model: {hiden: [4]}", "There is no key 'model.hiden'.", "model.hidden"),
        ("epoch: 4", "There is no key 'epoch'.", "epochs"),
        ("defaults: [{override /modle: mlp}]", "There is no group 'modle'", "model"),
        ("defaults: [{override /model: mpl}]", "model has no option 'mpl'.", "mlp"),
        ("defaults: [{model: mlp}]", "override groups", None),
        ("defaults: [_self_]", "override groups", None),
        ("[1, 2]", "must hold keys and values", None),
        ("epochs: [", "This is not valid YAML", None),
    ],
)
def test_a_mistake_in_it_is_said_of_its_file(own, text, problem, nearest):
    folder = own(text)
    error = mistake("experiment=mine", config_dir=folder)
    assert problem in error.problem
    assert str(folder / "experiment" / "mine.yaml") in error.where
    assert nearest is None or nearest in error.choices


def test_a_value_that_is_wrong_is_said_of_its_file(own):
    folder = own("epochs: many\n")
    error = mistake("experiment=mine", config_dir=folder)
    assert str(folder / "experiment" / "mine.yaml") in error.where
    assert mistake("experiment=mine", "epochs=few", config_dir=folder).where != error.where


def test_it_may_not_have_the_name_of_a_shipped_one(own):
    error = mistake(config_dir=own("epochs: 1\n", "deepobs/mnist_mlp"))
    assert error.problem.startswith("experiment=deepobs/mnist_mlp is already the name")


def test_it_is_listed_with_the_overrides_that_it_stands_for(own):
    folder = own("# Mine. Only mine.\ndefaults: [{override /model: cnn}]\nmodel: {hidden: 7}\n")
    options = {option.name: option for option in menu(folder, EXPERIMENT_GROUP)[EXPERIMENT_GROUP]}
    assert options["mine"].keys == {"model": "cnn", "model.hidden": 7}
    assert options["mine"].summary == "Mine."
    assert [name for name, option in options.items() if option.is_default] == ["none"]


def test_each_shipped_one_can_be_typed_as_it_is_listed(gradcli):
    out = gradcli("configs", EXPERIMENT_GROUP).out
    for name in SHIPPED:
        listed = out.partition(f"  {name}\n")[2].partition("\n\n")[0].splitlines()
        typed = [line.strip() for line in listed if "=" in line]
        assert compose_train(typed).yaml() == compose_train([f"experiment={name}"]).yaml()


# Mistakes


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("experiment=deepobs/mnist_mpl", "experiment=deepobs/mnist_mlp"),
        ("experiment=mnist_mlp", "experiment=deepobs/mnist_mlp"),
        ("experiment=fmnist_2c2d", "experiment=deepobs/fmnist_2c2d"),
        ("experiment=deepobs", "experiment=deepobs/mnist_mlp"),
        ("experiment=resnet_on_imagenet_for_90", "gradcli configs experiment"),
        ("experimnet=deepobs/mnist_mlp", "experiment=deepobs/mnist_mlp"),
        ("experiment=a,b", "gradcli inspect-gradients --vary experiment=a,b"),
    ],
)
def test_a_mistake_names_what_to_type(word, hint):
    assert mistake(word).hint == hint


def test_a_problem_brings_itself_what_it_would_choose(tmp_path):
    (tmp_path / "mine.py").write_text("problem = None\n")
    error = mistake(f"problem={tmp_path / 'mine.py'}:problem", MLP)
    assert "chooses what the problem brings itself" in error.problem


def test_the_files_are_in_the_form_that_hydra_composes():
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(shipped_configs()), version_base="1.3"):
        for name in SHIPPED:
            composed = compose("train", [f"+experiment={name}"])
            ours = compose_train([f"experiment={name}"]).config
            assert composed.model._target_ == ours.model.target
            assert composed.epochs == ours.epochs
            assert composed.init.bias == ours.init.arguments["bias"]


def test_the_first_line_tells_hydra_where_its_keys_belong():
    for path in (shipped_configs() / EXPERIMENT_GROUP).rglob("*.yaml"):
        assert path.read_text().startswith("# @package _global_\n# ")
        assert isinstance(yaml.safe_load(path.read_text())["defaults"], list)
