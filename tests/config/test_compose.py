"""From overrides to a typed config: what is accepted, and what is said of mistakes."""

from textwrap import dedent

import pytest
import yaml

from gradcli.config import changed, compose, compose_train, load_config
from gradcli.config.config_files import GROUPS
from gradcli.errors import UserError
from gradcli.system.resources import cores


@pytest.fixture(scope="module", autouse=True)
def _compose_the_same_once():
    """Hydra takes a tenth of a second for the defaults, with which nearly every test begins."""
    original, known = compose.compose_with_hydra, {}

    def remembered(root, overrides, files):
        key = (root, *overrides, files)
        if key not in known:
            known[key] = original(root, overrides, files)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "compose_with_hydra", remembered)
        yield


def mistake(*overrides, **paths):
    """The error that the overrides give."""
    with pytest.raises(UserError) as caught:
        compose_train(overrides, **paths)
    return caught.value


def write(folder, **options):
    """Write config files: `group__option="YAML"`."""
    for name, text in options.items():
        group, _, option = name.partition("__")
        (folder / group).mkdir(exist_ok=True)
        (folder / group / f"{option}.yaml").write_text(dedent(text))
    return folder


def arguments(composed, group="optimizer"):
    return getattr(composed.config, group).arguments


# What is accepted


def test_the_defaults_are_those_that_are_promised():
    config = compose_train().config
    assert {group: getattr(config, group).option for group in GROUPS if group != "data"} == {
        "augment": "none",
        "model": "mlp",
        "activation": "relu",
        "init": "default",
        "optimizer": "adam",
        "schedule": "cosine",
        "clip": "norm",
    }
    assert config.data.name == "auto"
    assert config.model.arguments["hidden"] == [256, 128]
    assert config.optimizer.arguments["lr"] == 2e-3
    assert config.clip.arguments == {"max_norm": 1.0}
    assert (config.batch_size, config.epochs, config.seed, config.max_steps) == (128, 3, 0, None)


def test_the_last_override_wins():
    overrides = ("optimizer=sgd", "epochs=1", "optimizer.lr=1", "epochs=2", "optimizer=adam")
    composed = compose_train(overrides)
    assert composed.config.epochs == 2
    assert composed.config.optimizer.option == "adam"
    assert arguments(composed)["lr"] == 1


def test_a_value_holds_whichever_side_of_its_option_it_stands():
    before = compose_train(["optimizer.momentum=0.5", "optimizer=momentum"])
    after = compose_train(["optimizer=momentum", "optimizer.momentum=0.5"])
    assert before.config == after.config
    assert arguments(after)["momentum"] == 0.5


@pytest.mark.parametrize("plus", ["", "+", "++"])
@pytest.mark.parametrize(
    "override",
    ["epochs=7", "optimizer.lr=7", "optimizer.maximize=true", "monitor.every=7", "optimizer=sgd"],
)
def test_a_plus_is_not_needed_and_does_no_harm(override, plus):
    assert compose_train([plus + override]).config == compose_train([override]).config
    assert compose_train([override]).config != compose_train().config


def test_a_keyword_that_the_file_does_not_list_may_be_set():
    composed = compose_train(["optimizer=sgd", "optimizer.nesterov=true", "optimizer.momentum=0.9"])
    assert arguments(composed) == {
        "lr": 0.5,
        "weight_decay": 0.0,
        "nesterov": True,
        "momentum": 0.9,
    }


def test_a_value_may_be_removed_if_the_class_has_a_default():
    assert "lr" not in arguments(compose_train(["~optimizer.lr"]))


def test_lists_tables_and_references_are_values():
    assert arguments(compose_train(["optimizer.betas=[0.8,0.99]"]))["betas"] == [0.8, 0.99]
    assert arguments(compose_train(["model.hidden=[]"]), "model")["hidden"] == []
    assert compose_train(["monitor={every:3}"]).config.monitor.every == 3
    assert arguments(compose_train(["epochs=4", "optimizer.lr=${epochs}"]))["lr"] == 4


def test_what_was_overridden_and_what_each_part_comes_from_is_known(tmp_path):
    own = write(tmp_path, optimizer__mine="_target_: torch.optim.SGD\nlr: 1.0\n")
    composed = compose_train(["optimizer=mine", "optimizer.lr=2", "epochs=1"], config_dir=own)
    assert composed.overridden == {"optimizer.lr", "epochs"}
    assert composed.files[""] == "configs/train.yaml"
    assert composed.files["model"] == "configs/model/mlp.yaml"
    assert composed.files["optimizer"] == str(own / "optimizer" / "mine.yaml")


# Misspelt names


@pytest.mark.parametrize(
    ("overrides", "where", "choice", "hint"),
    [
        # an option of a group
        ("optimizer=adm", "configs/optimizer/", "adam", "optimizer=adam"),
        ("data=mnist5", "configs/data/", "mnist5k", "data=mnist5k"),
        ("activation=leakyrelu", "configs/activation/", "leaky_relu", "activation=leaky_relu"),
        ("optimizer=nothing_like_it", "configs/optimizer/", "adam", "gradcli configs optimizer"),
        ("activation=swish", "configs/activation/", "silu", "activation=silu"),
        ("clip=1.0", "configs/clip/", "norm", "clip.max_norm=1.0"),
        # a group, a key, a key in a table
        ("optimzer=sgd", "configs/train.yaml", "optimizer", "optimizer=sgd"),
        ("epoch=5", "configs/train.yaml", "epochs", "epochs=5"),
        ("+epoch=5", "configs/train.yaml", "epochs", "epochs=5"),
        ("monitor.evry=5", "configs/train.yaml", "monitor.every", "monitor.every=5"),
        ("data.normalise=none", "configs/data/auto.yaml", "data.normalize", "data.normalize=none"),
        ("optimzer.lrr=1", "configs/train.yaml", "optimizer.lr", "optimizer.lr=1"),
        # only the last part of a key
        ("lr=0.1", "configs/train.yaml", "optimizer.lr", "optimizer.lr=0.1"),
        ("hidden=[9,8]", "configs/train.yaml", "model.hidden", "model.hidden=[9,8]"),
        ("model.lr=1", "configs/model/mlp.yaml", "optimizer.lr", "optimizer.lr=1"),
        ("model.activation=tanh", "configs/model/mlp.yaml", "activation", "activation=tanh"),
        # a keyword of the class, listed in the file or not
        ("optimizer.lrr=1", "configs/optimizer/adam.yaml", "optimizer.lr", "optimizer.lr=1"),
        (
            "optimizer.maximise=true",
            "configs/optimizer/adam.yaml",
            "optimizer.maximize",
            "optimizer.maximize=true",
        ),
        ("clip.max_nrom=1", "configs/clip/norm.yaml", "clip.max_norm", "clip.max_norm=1"),
        # one like none of its section: all of them are choices, and none is put into the mouth
        (
            "optimizer.learning_rate=1",
            "configs/optimizer/adam.yaml",
            "optimizer.lr",
            "gradcli train --show-config",
        ),
        ("qqq=1", "configs/train.yaml", None, "gradcli train --show-config"),
        # a keyword of another option
        (
            "optimizer.momentum=0.9",
            "optimizer.momentum in configs/optimizer/adam.yaml",
            "optimizer=momentum",
            "optimizer=momentum optimizer.momentum=0.9",
        ),
        (
            "activation.negative_slope=0.1",
            "activation.negative_slope in configs/activation/relu.yaml",
            "activation=leaky_relu",
            "activation=leaky_relu activation.negative_slope=0.1",
        ),
    ],
)
def test_a_misspelt_name_is_answered_with_place_nearest_and_what_to_type(
    overrides, where, choice, hint
):
    error = mistake(overrides)
    assert error.where == where
    assert choice is None or choice in error.choices
    assert error.hint == hint
    assert overrides.lstrip("+").partition("=")[0].rpartition(".")[2] in error.problem


@pytest.mark.parametrize(
    "override",
    ["optimizer=adm", "epoch=5", "lr=0.1", "optimizer.lrr=1", "optimizer.momentum=0.9"],
)
def test_what_to_type_is_right_when_typed(override):
    compose_train(mistake(override).hint.split(" "))


def test_resume_is_an_option_of_the_command():
    error = mistake("resume=latest")
    assert error.hint == "--resume latest"
    assert "'resume' is an option" in error.problem


def test_an_unknown_optimizer_is_answered_with_how_to_add_it():
    problem = mistake("optimizer=sophia").problem
    assert "DIR/optimizer/sophia.yaml with a line `_target_: PACKAGE.CLASS`" in problem
    assert "--config-dir DIR --allow-import PACKAGE" in problem


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.hidden=256", "MLP expects a list of integers, such as [64]"),
        ("optimizer.betas=0.9", "Adam expects a list of 2 numbers"),
        ("model.norm=btch", "MLP expects one of "),
        ("optimizer.amsgrad=1", "Adam expects true or false"),
        ("clip.max_norm=much", "ClipNorm expects a number"),
        ("epochs=2.5", "which is not a whole number."),
        ("max_steps=2.5", "which is not a whole number or null."),
        ("monitor.probes=noise", "which is not a list of texts."),
    ],
)
def test_an_error_says_what_a_value_must_be(override, expected):
    assert expected in mistake(override).problem


def test_options_that_take_the_keyword_are_all_named():
    error = mistake("optimizer.momentum=0.9")
    of_an_extra = "optimizer=schedule_free_sgd"  # named where it is installed
    assert [one for one in error.choices if one != of_an_extra] == [
        f"optimizer={option}" for option in ("momentum", "muon", "nesterov", "rmsprop", "sgd")
    ]


# Values that are none


@pytest.mark.parametrize(
    ("override", "says", "where"),
    [
        ("epochs=three", "epochs is 'three'", "epochs in configs/train.yaml"),
        ("epochs=2.5", "epochs is 2.5", "epochs in configs/train.yaml"),
        ("epochs=true", "epochs is True", "epochs in configs/train.yaml"),
        ("epochs=", "epochs is ''", "epochs in configs/train.yaml"),
        ("epochs=null", "epochs is None", "epochs in configs/train.yaml"),
        ("name=3", "name is 3", "name in configs/train.yaml"),
        ("monitor.every=no", "monitor.every is 'no'", "configs/train.yaml"),
        ("monitor=3", "monitor is 3", "configs/train.yaml"),
        ("data.drop_last=1", "data.drop_last is 1", "data.drop_last in configs/data/auto.yaml"),
        ("checkpoint.seconds=soon", "checkpoint.seconds is 'soon'", "configs/train.yaml"),
        ("optimizer.lr=abc", "optimizer.lr is 'abc'", "configs/optimizer/adam.yaml"),
        ("optimizer.lr=null", "optimizer.lr is None", "configs/optimizer/adam.yaml"),
        ("optimizer.amsgrad=1", "optimizer.amsgrad is 1", "configs/optimizer/adam.yaml"),
        ("optimizer.betas=[0.9]", "optimizer.betas is [0.9]", "configs/optimizer/adam.yaml"),
        ("optimizer.betas=[0.9,x]", "optimizer.betas is [0.9, 'x']", "configs/optimizer/adam.yaml"),
        ("model.hidden=256", "model.hidden is 256", "configs/model/mlp.yaml"),
        ("model.hidden=[256,x]", "model.hidden is [256, 'x']", "configs/model/mlp.yaml"),
        ("model.hidden=abc", "model.hidden is 'abc'", "configs/model/mlp.yaml"),
        ("model.norm=btch", "model.norm is 'btch'", "configs/model/mlp.yaml"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_with_its_key_and_file(override, says, where):
    error = mistake(override)
    assert error.problem.startswith(says)
    assert where in error.where


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("optimizer.lr=abc", "optimizer.lr=0.001"),
        ("optimizer.betas=0.9", "optimizer.betas=[0.9,0.999]"),
        ("optimizer.amsgrad=maybe", "optimizer.amsgrad=false"),
        ("optimizer.weight_decay=abc", "optimizer.weight_decay=0"),
        ("model.hidden=256", "model.hidden=[256,128]"),
        ("model.norm=xyz", "model.norm=none"),
        ("model.norm=btch", "model.norm=batch"),
    ],
)
def test_the_default_of_the_class_or_the_nearest_name_shows_how_a_value_is_written(override, hint):
    assert mistake(override).hint == hint
    compose_train([hint])


@pytest.mark.parametrize(
    ("override", "says", "hint"),
    [
        ("epochs=0", "1 or more", "epochs=1"),
        ("max_steps=0", "1 or more", "max_steps=1"),
        ("batch_size=-3", "1 or more", "batch_size=1"),
        ("seed=-1", "0 or more", "seed=0"),
        ("threads=0", "1 or more", "threads=1"),
        ("threads=100000", "is 100,000; it must be from 1 to 1,024", f"threads={cores()}"),
        ("threads=2147483648", "from 1 to 1,024", f"threads={cores()}"),
        (f"batch_size={2**63}", f"from 1 to {2**63 - 1:,}", "batch_size=1"),
        (f"seed={2**63}", f"from 0 to {2**63 - 1:,}", "seed=1"),
        (f"model.hidden=[{2**63}]", f"to {2**63 - 1:,}", "model.hidden=[256,128]"),
        (f"clip.max_norm={-(10**23)}", "a larger number needs an exponent", "clip.max_norm=1.0"),
        ("data.val=-1", "0 or more", "data.val=0"),
        ("monitor.every=-1", "0 or more", "monitor.every=0"),
        ("checkpoint.seconds=-0.5", "0.0 or more", "checkpoint.seconds=0.0"),
        ("checkpoint.seconds=nan", "0.0 or more", "checkpoint.seconds=0.0"),
        ("optimizer.lr=inf", "finite number, 0 or more", "optimizer.lr=0.001"),
        ("optimizer.lr=1e999", "finite number, 0 or more", "optimizer.lr=0.001"),
        ("optimizer.lr=-0.1", "finite number, 0 or more", "optimizer.lr=0.001"),
        ("optimizer.lr=nan", "NaN is not a value", "optimizer.lr=0.001"),
        ("optimizer.weight_decay=nan", "NaN is not a value", "optimizer.weight_decay=0"),
        ("optimizer.betas=[0.9,nan]", "NaN is not a value", "optimizer.betas=[0.9,0.999]"),
        ("clip.max_norm=nan", "NaN is not a value", "clip.max_norm=1.0"),
        ("device=cud", "must be one of auto, cpu, cuda, mps", "device=cuda"),
        ("precision=bfloat", "must be one of float32, bfloat16", "precision=bfloat16"),
        ("data.normalize=meanstd", "must be one of mean_std, 0-1, none", "data.normalize=mean_std"),
    ],
)
def test_a_value_out_of_its_limits_is_refused_with_a_valid_one(override, says, hint):
    error = mistake(override)
    assert says in error.problem
    assert error.hint == hint
    compose_train([hint])


@pytest.mark.parametrize(
    "override",
    ["", "+", "name=a\nb", "epochs=" + "9" * 5000, f"model.hidden={'[' * 99}{']' * 99}"],
    ids=["nothing", "plus", "newline", "digits", "nested"],
)
def test_what_cannot_be_read_is_shown_in_part_and_refused(override):
    error = mistake(override)
    assert "is not an override" in error.problem
    assert len(error.problem) < 500


def test_an_integer_that_no_machine_word_holds_is_refused_as_a_number_too():
    assert "init.bias is 1" in mistake(f"init.bias={10**23}").problem
    assert arguments(compose_train(["init.bias=1e23"]), "init")["bias"] == 1e23


@pytest.mark.parametrize(
    ("override", "lacks", "nearest"),
    [
        ("init._target_=gradcli.models.Initialisation", "fill", "gradcli.models.Default"),
        ("schedule._target_=gradcli.optim.Schedule", "factor", "gradcli.optim.Cosine"),
    ],
)
def test_an_abstract_class_is_refused_and_those_that_derive_from_it_are_named(
    override, lacks, nearest
):
    error = mistake(override)
    assert f"is abstract: it lacks {lacks}" in error.problem
    assert nearest in error.choices


@pytest.mark.parametrize("value", ["null", "[0.9]", "3"])
def test_a_target_of_the_data_that_is_not_text_is_refused(value):
    error = mistake(f"data._target_={value}")
    assert "it must be the name of a class" in error.problem
    assert "gradcli configs data" in error.hint


def test_a_rate_that_moves_nothing_and_a_limit_that_limits_nothing_are_values():
    composed = compose_train(["optimizer.lr=0", "clip.max_norm=inf"])
    assert arguments(composed)["lr"] == 0
    assert arguments(composed, "clip")["max_norm"] == float("inf")


@pytest.mark.parametrize("rate", [".nan", ".inf", "-0.5"])
def test_an_impossible_learning_rate_in_a_file_is_refused_too(tmp_path, rate):
    own = write(tmp_path, optimizer__mine=f"_target_: torch.optim.SGD\nlr: {rate}\n")
    error = mistake("optimizer=mine", config_dir=own)
    assert error.where == f"optimizer.lr in {own / 'optimizer' / 'mine.yaml'}"
    assert error.hint == "optimizer.lr=0.001"


def test_a_missing_value_is_reported(tmp_path):
    error = mistake("~epochs")
    assert (error.where, error.hint) == ("configs/train.yaml", "epochs=VALUE")
    own = write(tmp_path, schedule__drops="_target_: torch.optim.lr_scheduler.StepLR")
    error = mistake("schedule=drops", config_dir=own)
    assert "'step_size'" in error.problem
    assert error.where == f"schedule.step_size in {own / 'schedule' / 'drops.yaml'}"
    assert error.hint == "schedule.step_size=VALUE"
    compose_train(["schedule=drops", "schedule.step_size=5"], config_dir=own)


# What is not an override of a run


@pytest.mark.parametrize("override", ["epochs=1,2", "epochs=range(1,3)", "optimizer=adam,sgd"])
def test_a_sweep_is_refused(override):
    error = mistake(override)
    assert "several values" in error.problem
    assert error.where == override.partition("=")[0]


@pytest.mark.parametrize("override", ["hydra.run.dir=/tmp", "hydra/launcher=basic", "hydra=x"])
def test_hydra_itself_is_not_to_be_configured(override):
    error = mistake(override)
    assert override in error.problem
    assert error.hint == "--runs-dir DIR"


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("optimizer@x=adam", "optimizer=adam"),
        ("optimizer@optimizer=sgd", "optimizer=sgd"),
        ("+optimizer@_global_=sgd", "+optimizer=sgd"),
        ("optimizer@=sgd", "optimizer=sgd"),
        ("optimizer.lr@x.y=3", "optimizer.lr=3"),
        ("epochs@x=3", "epochs=3"),
    ],
)
def test_an_option_cannot_be_put_elsewhere(override, hint):
    error = mistake(override)
    assert f"'{override}'" in error.problem
    assert "nothing reads it" in error.problem
    assert error.where == hint.lstrip("+").partition("=")[0]
    assert error.hint == hint
    compose_train([hint])


@pytest.mark.parametrize(
    "word", ["foo", "model.hidden=[1,2", "optimizer.betas=(0.9,0.99)", "a b=1", "epochs+=1"]
)
def test_what_cannot_be_parsed_is_shown_how_it_should_be(word):
    error = mistake(word)
    assert f"'{word}' is not an override" in error.problem
    assert "KEY=VALUE" in error.hint


@pytest.mark.parametrize(
    "text",
    [
        "my file (1).npz",
        "it's (2).csv",
        'a "b".csv',
        "größe (€),x.csv",
        "a$1.csv",
        "b\\c\\",
        "a=b:c]",
    ],
)
def test_text_with_a_meaning_in_the_grammar_needs_no_quotes(text):
    composed = compose_train(["data=npz", f"data.path={text}", "epochs=2"])
    assert composed.config.data.arguments["path"] == text
    assert composed.config.epochs == 2
    assert load_config(composed.yaml(), where="test").config.data.arguments["path"] == text


def test_a_comma_divides_values_unless_a_file_has_it_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "several values" in mistake("data=npz", "data.path=a,b.npz").problem
    (tmp_path / "a,b.npz").touch()
    composed = compose_train(["data=npz", "data.path=a,b.npz"])
    assert composed.config.data.arguments["path"] == "a,b.npz"


def test_a_number_that_is_not_one_is_told_so_and_not_as_a_mistake_of_grammar():
    error = mistake("optimizer.lr=0.1]")
    assert "'0.1]'" in error.problem
    assert error.hint == "optimizer.lr=0.001"


@pytest.mark.parametrize("override", ["~optimizer", "optimizer=null", "optimizer={lr:1}"])
def test_a_group_needs_an_option(override):
    assert "sgd" in mistake(override).choices


def test_a_reference_to_nothing_is_refused():
    assert "nope" in mistake("optimizer.lr=${nope}").problem


# Classes


def test_a_class_of_a_foreign_package_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise RuntimeError('imported')")
    monkeypatch.chdir(tmp_path)
    error = mistake("optimizer._target_=trap.Trap")
    assert error.where == "optimizer._target_ in configs/optimizer/adam.yaml"
    assert "--allow-import trap" in error.hint
    # A package whose name merely begins like an allowed one is foreign too.
    assert "--allow-import" in mistake("optimizer._target_=torch.optimx.Adam").hint


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("optimizer._target_=torch.nn.Linear", "torch.optim.Optimizer"),
        ("model._target_=torch.optim.Adam", "torch.nn.Module"),
        ("activation._target_=torch.optim.Adam", "torch.nn.Module"),
        ("init._target_=torch.nn.Linear", "Initialisation"),
        ("clip._target_=torch.nn.Linear", "Clip"),
        ("schedule._target_=torch.nn.Linear", "LRScheduler"),
    ],
)
def test_a_class_of_a_wrong_kind_is_refused(override, says):
    error = mistake(override)
    assert says in error.problem
    assert error.where.startswith(override.partition("=")[0])


def test_a_misspelt_class_is_answered_with_the_nearest_of_its_kind():
    error = mistake("optimizer._target_=torch.optim.Adm")
    assert error.choices[0] == "torch.optim.Adam"
    assert mistake("optimizer._target_=torch.optim.adam").choices[0] == "torch.optim.Adam"


def test_a_module_in_the_working_directory_may_be_allowed(tmp_path, monkeypatch):
    (tmp_path / "my_optimizers.py").write_text(
        dedent(
            """
            import torch

            class Signed(torch.optim.SGD):
                def __init__(self, params, lr: float = 0.1, sharpness: float = 1.0):
                    super().__init__(params, lr)
            """
        )
    )
    monkeypatch.chdir(tmp_path)
    own = write(tmp_path, optimizer__signed="_target_: my_optimizers.Signed\nlr: 0.3\n")
    assert "--allow-import my_optimizers" in mistake("optimizer=signed", config_dir=own).hint
    composed = compose_train(
        ["optimizer=signed", "optimizer.sharpness=2"],
        config_dir=own,
        allow_import=["my_optimizers"],
    )
    assert composed.classes["optimizer"].__name__ == "Signed"
    assert arguments(composed) == {"lr": 0.3, "sharpness": 2}


def test_a_module_that_is_not_there_is_named():
    error = mistake("optimizer._target_=not_there.Thing", allow_import=["not_there"])
    assert "There is no module 'not_there'" in error.problem


# The user's own folder


def test_an_own_folder_adds_options_to_the_groups(tmp_path):
    own = write(
        tmp_path,
        optimizer__slow="_target_: torch.optim.SGD\nlr: 0.001\n",
        optimizer__heavy="defaults:\n  - sgd\nmomentum: 0.7\n",
    )
    slow = compose_train(["optimizer=slow"], config_dir=own)
    assert arguments(slow) == {"lr": 0.001}
    heavy = compose_train(["optimizer=heavy"], config_dir=own)
    assert arguments(heavy) == {"lr": 0.5, "weight_decay": 0.0, "momentum": 0.7}
    assert mistake("optimizer=slw", config_dir=own).choices[0] == "slow"
    assert compose_train(config_dir=own).config == compose_train().config


def test_an_own_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "odd, (name) é='1"
    folder.mkdir()
    own = write(folder, optimizer__mine="_target_: torch.optim.Adam\nlr: 0.7\n")
    composed = compose_train(["optimizer=mine"], config_dir=own)
    assert arguments(composed) == {"lr": 0.7}
    assert composed.files["optimizer"] == str(own / "optimizer" / "mine.yaml")
    assert composed.config.clip == compose_train().config.clip


def test_an_own_option_of_a_shipped_name_is_refused(tmp_path):
    own = write(tmp_path, optimizer__adam="_target_: torch.optim.Adam\nlr: 0.7\n")
    error = mistake(config_dir=own)
    assert "optimizer=adam is already the name of a shipped option" in error.problem
    assert error.where.endswith("optimizer/adam.yaml")


def test_an_own_option_that_is_broken_is_named_and_disturbs_no_other(tmp_path):
    own = write(
        tmp_path,
        optimizer__torn="lr: [1",
        optimizer__empty="",
        optimizer__classless="lr: 0.1",
        optimizer__foreign="_target_: somewhere.Else",
        optimizer__unknown="_target_: torch.optim.SGD\nlearning_rate: 0.1",
    )
    assert mistake("optimizer=torn", config_dir=own).where.endswith("torn.yaml")
    for option in ("empty", "classless"):
        error = mistake(f"optimizer={option}", config_dir=own)
        assert error.where.endswith(f"{option}.yaml")
        assert "_target_" in error.hint
    assert "foreign.yaml" in mistake("optimizer=foreign", config_dir=own).where
    error = mistake("optimizer=unknown", config_dir=own)
    assert "learning_rate" in error.problem
    assert "unknown.yaml" in error.where
    with_own = mistake("optimizer.momentum=0.9", config_dir=own)
    assert with_own.hint == mistake("optimizer.momentum=0.9").hint


def test_an_own_folder_that_is_not_there_is_refused(tmp_path):
    assert mistake(config_dir=tmp_path / "nope").where == "--config-dir"


# There and back


OVERRIDES = (
    ["data=mnist5k", "optimizer.maximize=true", "model.hidden=[9,8]", "name=a b"],
    ["optimizer=momentum", "clip=none", "schedule=step", "seed=3", "device=cpu"],
    ["model=rnn", "activation=tanh", "init=kaiming", "optimizer.eps=1e-20"],
)


@pytest.mark.parametrize("overrides", OVERRIDES)
def test_a_config_is_read_back_as_it_was_written(overrides):
    composed = compose_train(overrides)
    again = load_config(composed.yaml(), where="runs/x/config.yaml")
    assert again.config == composed.config
    assert again.classes == composed.classes
    assert again.yaml() == composed.yaml()


def test_changes_made_later_are_written_too():
    composed = compose_train(["data=mnist"]).with_data("mnist5k").with_epochs(9)
    again = load_config(composed.yaml(), where="config.yaml").config
    assert (again.data.name, again.epochs) == ("mnist5k", 9)
    assert again == composed.config


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epoch": 3}, "epoch"),
        ({"epochs": "many"}, "epochs is 'many'"),
        ({"monitor": 3}, "monitor is 3"),
        ({"choices": {"data": "auto"}}, "'choices'"),
        ({"optimizer": {"_target_": "os.system"}}, "os.system"),
    ],
)
def test_a_config_that_a_hand_has_broken_is_refused_with_its_file(change, says):
    text = yaml.safe_dump({**yaml.safe_load(compose_train().yaml()), **change})
    with pytest.raises(UserError) as caught:
        load_config(text, where="runs/x/config.yaml")
    assert says in caught.value.problem
    assert "runs/x/config.yaml" in caught.value.where


def test_a_config_that_is_not_yaml_is_refused_with_its_line():
    with pytest.raises(UserError) as caught:
        load_config("epochs: 1\nname: [", where="runs/x/config.yaml")
    assert caught.value.where == "line 2 of runs/x/config.yaml"


# Inside someone else's program


def test_a_program_that_uses_hydra_finds_it_as_it_was(tmp_path, spawn):
    (tmp_path / "app.py").write_text(
        dedent(
            """
            import hydra
            from hydra.core.global_hydra import GlobalHydra
            from hydra.core.hydra_config import HydraConfig
            from hydra.version import getbase

            from gradcli.config import compose_train
            from gradcli.errors import UserError

            def state():
                job = HydraConfig.get().job.name
                return job, getbase(), id(GlobalHydra.instance().hydra)

            @hydra.main(version_base="1.2", config_path=None)
            def main(config):
                before = state()
                assert str(before[1]) == "1.2"
                assert compose_train(["epochs=2"]).config.epochs == 2
                assert state() == before
                try:
                    compose_train(["optimizer=adm"])
                except UserError:
                    print("refused", state() == before, before[0], config.mine)

            main()
            """
        )
    )
    answer = spawn("app.py", "+mine=1", cwd=tmp_path)
    assert answer.out.strip() == "refused True app 1", answer.err
    assert answer.code == 0


# A stored config that is changed


@pytest.mark.parametrize(
    ("words", "overrides", "instead"),
    [
        (["epochs=2"], ["optimizer.lr=0.3"], ["epochs=2", "optimizer.lr=0.3"]),
        (
            ["init=normal", "init.std=5", "seed=3"],
            ["init=kaiming"],
            ["init=kaiming", "seed=3"],
        ),
        (
            ["optimizer=sgd", "optimizer.momentum=0.5"],
            ["optimizer.weight_decay=0.1", "clip=none"],
            ["optimizer=sgd", "optimizer.momentum=0.5", "optimizer.weight_decay=0.1", "clip=none"],
        ),
        (
            ["optimizer=sgd", "optimizer.lr=3", "model.hidden=[8]"],
            ["optimizer=adam", "optimizer.betas=[0.8,0.9]", "model.norm=batch"],
            ["optimizer=adam", "optimizer.betas=[0.8,0.9]", "model.hidden=[8]", "model.norm=batch"],
        ),
        (["data=mnist5k"], ["data.normalize=none"], ["data=mnist5k", "data.normalize=none"]),
        (["clip=value"], ["monitor.every=3"], ["clip=value", "monitor.every=3"]),
    ],
)
def test_a_changed_config_is_the_one_composed_that_way(words, overrides, instead):
    stored = load_config(compose_train(words).yaml(), where="config.yaml")
    result, expected = changed(stored, overrides), compose_train(instead)
    assert result.plain == expected.plain
    assert result.config == expected.config
    assert result.classes == expected.classes
    assert stored.plain == compose_train(words).plain


def test_what_a_changed_file_says_today_does_not_change_the_rest(tmp_path):
    folder = write(tmp_path, optimizer__own="_target_: torch.optim.SGD\nlr: 0.5\nmomentum: 0.1")
    stored = compose_train(["optimizer=own"], config_dir=folder)
    write(tmp_path, optimizer__own="_target_: torch.optim.SGD\nlr: 0.5\nmomentum: 0.9")
    result = changed(stored, ["optimizer.lr=0.2"], config_dir=folder)
    assert arguments(result) == {"lr": 0.2, "momentum": 0.1}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("init.std=2", "takes no 'std'"),
        ("optimizer.lr=fast", "optimizer.lr"),
        ("epochs=0", "epochs"),
        ("activation=reul", "no option 'reul'"),
        ("optimiser.lr=1", "no key 'optimiser.lr'"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(override, said):
    with pytest.raises(UserError) as caught:
        changed(compose_train(["init=default"]), [override])
    assert said in str(caught.value)


def test_a_name_that_a_class_does_not_take_is_told_the_nearest():
    error = mistake("data=table", "data.path=t.csv", "data.target_kind=number")
    assert error.choices == ("data.target_kind=numbers",)
    assert error.hint == "data.target_kind=numbers"
