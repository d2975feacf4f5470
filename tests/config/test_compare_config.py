"""The config of a comparison: its own keys, and the arms that follow from them."""

import re
import shlex
from dataclasses import replace

import pytest

from gradcli.config import compose_comparison, compose_train, load_config
from gradcli.errors import UserError
from gradcli.records import DataInfo

MNIST = DataInfo("mnist", 50_000, 10_000, 10_000, "", (1, 28, 28), 10)
SAMPLE = DataInfo("mnist5k", 4_000, 500, 500, "", (1, 28, 28), 10)
OWN_SMALL = DataInfo("fashion_mnist", 9_000, 999, 500, "", (1, 28, 28), 10)


def mistake(*overrides, vary=(), **paths):
    with pytest.raises(UserError) as caught:
        compose_comparison(overrides, vary, **paths).arms(SAMPLE)
    return caught.value


def test_by_default_three_optimizers_are_tuned():
    composed = compose_comparison()
    assert (composed.protocol, composed.engine) == ("quick", "local")
    assert composed.config.protocol.tune
    arms = composed.arms(SAMPLE)
    assert [arm.name for arm in arms] == ["sgd", "adam", "rmsprop"]
    for arm in arms:
        trained = compose_train([f"optimizer={arm.optimizer}"])
        assert arm.learning_rate == trained.config.optimizer.arguments["lr"]


def test_an_arms_config_is_that_of_a_training_run():
    """The same as that of `train` with the same overrides, except for what a comparison sets."""
    words = ["data=mnist5k", "model.hidden=[32]", "clip=none", "optimizer.weight_decay=0.1"]
    arm = compose_comparison([*words, "optimizers=[momentum]"]).arms(SAMPLE)[0]
    trained = compose_train([*words, "optimizer=momentum", "epochs=10", "threads=1"])
    assert arm.composed.plain == trained.plain
    assert load_config(arm.composed.yaml(), where="here").config == trained.config


@pytest.mark.parametrize(
    ("data", "overrides", "epochs"),
    [(MNIST, [], 2), (SAMPLE, [], 10), (SAMPLE, ["epochs=3"], 3), (OWN_SMALL, [], 10)],
    ids=lambda value: value.name if isinstance(value, DataInfo) else str(value),
)
def test_the_protocol_sets_the_length_of_trials_unless_the_user_does(data, overrides, epochs):
    arms = compose_comparison(overrides).arms(data)
    assert {arm.composed.config.epochs for arm in arms} == {epochs}
    assert {arm.composed.config.data.name for arm in arms} == {data.name}


@pytest.mark.parametrize("data", [MNIST, SAMPLE])
def test_the_size_of_the_validation_split_does_not_change_the_length(data):
    other = replace(data, train=data.train + data.val - 100, val=100)
    assert other.is_small == data.is_small == (data is SAMPLE)


def test_what_is_varied_is_crossed_with_the_optimizers():
    composed = compose_comparison(
        ["optimizers=[sgd,adam]"], ["clip=none,norm", "model.hidden=[8],[8,8]"]
    )
    arms = composed.arms(SAMPLE)
    assert len(arms) == 2 * 2 * 2
    assert len({arm.name for arm in arms}) == 8
    first, last = arms[0], arms[-1]
    assert first.name == "sgd clip=none model.hidden=[8]"
    assert first.composed.config.clip.option == "none"
    assert last.composed.config.model.arguments["hidden"] == [8, 8]


def test_the_same_optimizer_twice_is_two_arms():
    arms = compose_comparison(["optimizers=[adam,sgd,adam]"]).arms(SAMPLE)
    assert [arm.name for arm in arms] == ["adam", "sgd", "adam#2"]
    assert arms[0].composed.plain == arms[2].composed.plain


@pytest.mark.parametrize("protocol", ["quick", "standard", "thorough"])
def test_every_protocol_is_whole(protocol):
    config = compose_comparison([f"protocol={protocol}"]).config.protocol
    assert config.learning_rates >= 3
    assert 3 <= config.per_decade <= 5
    assert config.seeds >= 5


@pytest.mark.parametrize(
    ("word", "said", "nearest"),
    [
        ("protocl.seeds=3", "no key 'protocl.seeds'", "protocol.seeds"),
        ("protocol.seds=3", "no key 'protocol.seds'", "protocol.seeds"),
        ("protocol=quik", "no option 'quik'", "quick"),
        ("engine=locl", "no option 'locl'", "local"),
        ("optimizers=[adm]", "no option 'adm'", "adam"),
        ("model.hiden=[3]", "no key 'model.hiden'", "model.hidden"),
        ("optimizer.betas=[0.8,0.9]", "optimizer=sgd takes no 'betas'", "optimizer=adam"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_nearest(word, said, nearest):
    error = mistake(word)
    assert said in error.problem
    assert nearest in error.choices


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("optimizer=adam", "--optimizers sgd,adam"),
        ("optimizer=sgd", "--optimizers sgd,adam"),
        ("optimizer=rmsprop", "--optimizers sgd,rmsprop"),
        ("optimizer.lr=0.1", "--lrs 0.1, or protocol.tune=false"),
        ("lrs=[0.1,-1]", "--lrs auto"),
        ("lrs=[0.1,inf]", "--lrs auto"),
        ("lrs=[nan]", "--lrs auto"),
        ("lrs=many", "--lrs auto"),
        ("optimizers@x=[adam]", "optimizers=[adam]"),
        ("protocol@x=quick", "protocol=quick"),
        ("protocol.target=nan", "protocol.target=0.0"),
        ("data.val=0", "protocol.tune=false"),
        ("protocol.rungs=[2]", "protocol.rungs=[0.25,0.5]"),
        ("protocol.seeds=0", "protocol.seeds=1"),
        ("clip=none,norm", "--vary clip=none,norm"),
    ],
)
def test_what_is_not_a_comparison_is_answered_with_one_that_is(word, hint):
    assert hint in (mistake(word).hint or "")


@pytest.mark.parametrize("word", ["data=mnist,mnist5k", "seed=1,2", "protocol=quick,standard"])
def test_what_arms_must_share_cannot_be_varied(word):
    assert "cannot be varied" in mistake(vary=[word]).problem


@pytest.mark.parametrize(
    ("word", "choice", "hint"),
    [
        ("foo", "clip", "--vary clip=none,norm"),
        ("foo=1,2", "clip", "--vary clip=none,norm"),
        ("clp=none,norm", "clip", "--vary clip=none,norm"),
        ("schedul", "schedule", "--vary schedule=constant,cosine"),
        ("clip=nrm,none", "norm", "--vary clip=norm,none"),
        ("activation=relu,swish", "silu", "--vary activation=relu,silu"),
        ("model.hiddn=[4],[4,4]", "model.hidden", "--vary 'model.hidden=[4],[4,4]'"),
        ("optimzer.lr=0.1,0.2", "optimizer.lr", "--lrs 0.1,0.2"),
        ("model.cell=tanh,gru", "model=rnn", "model=rnn --vary model.cell=tanh,gru"),
        ("optimizer.nesterov=true,false", "optimizer=sgd", "--optimizers momentum --vary "),
    ],
)
def test_a_mistake_in_vary_is_answered_with_a_vary_that_works(word, choice, hint):
    asked = ["optimizers=[adagrad]"]
    error = mistake(*asked, vary=[word])
    assert word.partition("=")[0].rpartition(".")[2] in error.problem
    assert error.where.startswith("--vary")
    assert choice in error.choices
    assert error.hint.startswith(hint)
    given = shlex.split(error.hint)
    overrides = [one for one in given if re.match("model=", one)]
    for option, key in (("--optimizers", "optimizers"), ("--lrs", "lrs")):
        if option in given:
            overrides.append(f"{key}=[{given[given.index(option) + 1]}]")
    vary = [given[given.index("--vary") + 1]] if "--vary" in given else []
    arms = compose_comparison([*asked, *overrides], vary).arms(SAMPLE)
    assert len(arms) == (2 if vary else 1)


def test_of_several_vary_the_wrong_one_is_named():
    error = mistake(vary=["clip=none,norm", "modl=mlp,cnn"])
    assert error.where == "--vary modl=mlp"
    assert error.hint == "--vary model=mlp,cnn"


def test_a_mistake_that_all_arms_share_is_not_one_in_vary():
    error = mistake("optimizer.lrr=0.1", "optimizers=[sgd]", vary=["clip=none,norm"])
    assert error.where == "configs/optimizer/sgd.yaml"
    assert error.hint == "optimizer.lr=0.1"


def test_seeds_are_counted_not_varied():
    assert mistake(vary=["seed=1,2,3"]).hint == "--seeds 3"


@pytest.mark.parametrize(
    ("word", "hint"),
    [("engine=nope", "--engine local"), ("engine=seril", "--engine serial"),
     ("protocol=quik", "--protocol quick")],
)  # fmt: skip
def test_an_unknown_engine_or_protocol_is_answered_with_the_option_to_type(word, hint):
    error = mistake(word)
    assert error.hint == hint
    assert hint.split()[1] in error.choices


def test_a_learning_rate_may_be_varied_if_none_is_tuned():
    composed = compose_comparison(
        ["optimizers=[adam]", "protocol.tune=false"], ["optimizer.lr=0.1,0.2"]
    )
    assert [arm.learning_rate for arm in composed.arms(SAMPLE)] == [0.1, 0.2]
    assert "--lrs" in mistake(vary=["optimizer.lr=0.1,0.2"]).hint


@pytest.mark.parametrize("rate", ["inf", "nan", "-0.1"])
def test_an_impossible_learning_rate_is_refused_before_any_trial(rate):
    error = mistake("protocol.tune=false", f"optimizer.lr={rate}", "optimizers=[sgd]")
    assert error.where == "optimizer.lr in configs/optimizer/sgd.yaml"
    assert error.hint == "optimizer.lr=0.001"


def test_an_optimizer_of_the_users_own_is_an_arm(tmp_path):
    (tmp_path / "optimizer").mkdir()
    (tmp_path / "optimizer" / "mine.yaml").write_text("_target_: torch.optim.SGD\nmomentum: 0.5\n")
    (arm,) = compose_comparison(["optimizers=[mine]"], config_dir=tmp_path).arms(SAMPLE)
    assert arm.learning_rate == 1e-3  # PyTorch's own default


@pytest.mark.parametrize(
    ("optimizers", "hint"),
    [
        ("[sgd,adamm]", "--optimizers sgd,adam"),
        ("[sgd,zebra]", "gradcli configs optimizer"),  # near none, so any would be a wrong guess
    ],
)
def test_an_unknown_optimizer_is_corrected_in_its_list_or_the_menu_shown(optimizers, hint):
    assert mistake(f"optimizers={optimizers}").hint == hint


def test_a_key_without_values_cannot_be_varied():
    error = mistake(vary=["clip"])
    assert (error.where, error.hint) == ("--vary", "--vary clip=agc,autoclip")


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (["--search", "lr,lr"], "'lr' is searched twice", "--search lr"),
        (["--search", "lr", "--lrs", "0.1"], "--lrs and --search both say", "without --lrs"),
        (["--search", "lr", "optimizer.lr=0.1"], "sets what the search chooses", "LOW..HIGH"),
        (["--search", "lr", "protocol.tune=false"], "leaves nothing to choose", "--search lr"),
        (["--search", "tpe"], "is a way to search", "--search lr search=tpe"),
        (["--search", "adm:lr=1..2"], "'adm' is not compared", "--search lr"),
        (["--search", "lr="], "'lr=' has no range", "--search lr"),
        (["--search", ""], "--search names no key", "--search lr"),
        (["--search", "lr", "search=sobl"], "search has no option 'sobl'", "search=sobol"),
        (["--search", "weight_dcay"], "No arm has a key weight_dcay", "--search weight_decay"),
        (["--search", "lr,weight_dcay"], "No arm has a key weight", "--search lr,weight_decay"),
        (["--search", "lr=1..0.1"], "low must be below high", "--search lr=0.05..5"),
        (["--search", "lr=a..1"], "'a' is not a number", "--search lr=0.05..5"),
        (["--search", "lr=0.1"], "a range is written LOW..HIGH", "--search lr=0.05..5"),
        (["--search", "lr=-1..1"], "-1 is below 0", "--search lr=0.05..5"),
        (["--search", "momentum"], "sgd has no momentum", "--search lr,momentum"),
        (["--search", "adam:momentum,lr"], "adam has no momentum", "--search"),
    ],
)
def test_what_a_search_cannot_be_is_refused_with_what_to_type(gradcli, words, problem, hint):
    few = ("data=mnist5k", "max_steps=1", "--optimizers", "sgd,adam,momentum", *words)
    answer = gradcli("compare-optimizers", *few)
    assert answer.code == 2
    told = " ".join(answer.err.split())
    assert problem in told
    assert hint in told.partition("try:")[2]


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("search: [lr]", "it gives a range for each key"),
        ("search: {lr: 0.1}", "it is written {low: 0.001, high: 0.1, scale: log}"),
        ("search: {lr: {low: a, high: 1.0}}", "'a' is not a number"),
        ("search: {lr: {low: 1.0, high: 0.1}}", "low must be below high"),
        ("search: {lr: {low: 0.1, high: 1.0, scale: lg}}", "there is no scale 'lg'"),
        ("search: {momentun: {low: 0.1, high: 0.9}}", "No arm has a key lr"),
    ],
)
def test_a_section_of_ranges_that_is_none_is_the_users_mistake(gradcli, tmp_path, section, problem):
    (tmp_path / "optimizer").mkdir()
    lr = "" if "momentun" in section else "lr: 0.1\n"
    text = f"_target_: torch.optim.SGD\n{lr}{section}\n"
    (tmp_path / "optimizer" / "own.yaml").write_text(text)
    words = ("--optimizers", "own", "--search", "lr", "--config-dir", str(tmp_path))
    answer = gradcli("compare-optimizers", "data=mnist5k", "max_steps=1", *words)
    assert answer.code == 2
    assert problem in " ".join(answer.err.split())
