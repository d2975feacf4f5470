"""`optimizer.groups` in a config: what is read, what an override sets, what is refused."""

import pytest
import torch
import yaml

from gradcli.config import changed, compose_train, flat_settings, load_config
from gradcli.config.compare_config import compose_comparison
from gradcli.config.parameter_groups import with_explicit_rates
from gradcli.config.settings import annotated_yaml
from gradcli.errors import UserError

OPTION = """
_target_: torch.optim.SGD
lr: 0.1
momentum: 0.9
groups:
  matrices: {where: {dimensions: 2, not_modules: [Embedding], names: "hidden*"}, momentum: 0.5}
  rest: {_target_: torch.optim.AdamW, lr: 0.002}
"""


@pytest.fixture
def compose(tmp_path):
    """Compose a training by an option `grouped` with these lines, and more overrides."""

    def composed(option=OPTION, *overrides):
        folder = tmp_path / "optimizer"
        folder.mkdir(exist_ok=True)
        (folder / "grouped.yaml").write_text(option)
        return compose_train(["optimizer=grouped", *overrides], config_dir=tmp_path)

    return composed


def groups_of(composed):
    return {one.name: one for one in composed.config.optimizer.parameter_groups}


def refusal(compose, option=OPTION, *overrides):
    with pytest.raises(UserError) as caught:
        compose(option, *overrides)
    return caught.value


def test_a_group_has_a_rule_and_settings_or_a_class_of_its_own(compose):
    composed = compose()
    matrices, rest = groups_of(composed).values()
    assert matrices.rule == {"dimensions": [2], "not_modules": ["Embedding"], "names": ["hidden*"]}
    assert (matrices.own, matrices.has_own_class) == ({"momentum": 0.5}, False)
    assert matrices.section.arguments == {"lr": 0.1, "momentum": 0.5}
    assert (rest.rule, rest.own, rest.has_own_class) == ({}, {"lr": 0.002}, True)
    assert rest.section.arguments == {"lr": 0.002}
    assert composed.classes["optimizer.groups.matrices"] is torch.optim.SGD
    assert composed.classes["optimizer.groups.rest"] is torch.optim.AdamW
    assert composed.config.optimizer.arguments == {"lr": 0.1, "momentum": 0.9}


def test_an_option_without_groups_has_none():
    assert compose_train([]).config.optimizer.parameter_groups == ()


def test_a_stored_config_has_the_same_groups_in_the_same_order(compose):
    option = OPTION.replace("matrices:", "zebra:").replace("rest:", "ant:")
    composed = compose(option)
    again = load_config(composed.yaml(), where="config.yaml")
    assert again.config == composed.config
    assert list(groups_of(again)) == ["zebra", "ant"]


def test_an_override_sets_a_key_of_a_group(compose):
    groups = groups_of(
        compose(
            OPTION,
            "optimizer.groups.rest.lr=0.01",
            "optimizer.groups.rest.betas=[0.8,0.9]",
            "optimizer.groups.matrices.where.names=[output*]",
        )
    )
    assert groups["rest"].own == {"lr": 0.01, "betas": [0.8, 0.9]}
    assert groups["matrices"].rule["names"] == ["output*"]
    assert groups["matrices"].rule["dimensions"] == [2]


def test_overrides_make_groups_of_any_option():
    made = compose_train(
        [
            "optimizer.groups={biases:{where:{dimensions:1},lr:0.01}}",
            "+optimizer.groups.rest.betas=[0.8,0.9]",
            "optimizer.groups.rest.lr=0.5",
            "optimizer.groups.biases.lr=0.02",
        ]
    )
    groups = groups_of(made)
    assert list(groups) == ["biases", "rest"]
    assert groups["biases"].own == {"lr": 0.02}
    assert groups["rest"].own == {"betas": [0.8, 0.9], "lr": 0.5}


def test_a_group_may_be_deleted(compose):
    assert list(groups_of(compose(OPTION, "~optimizer.groups.matrices"))) == ["rest"]


def test_settings_name_the_keys_of_groups_as_overrides_do(compose):
    settings = flat_settings(compose().yaml(), where="config.yaml")
    assert settings["optimizer.groups.rest.lr"] == 0.002
    assert settings["optimizer.groups.matrices.where.dimensions"] == 2
    assert "optimizer.groups" not in settings
    empty = flat_settings(compose(OPTION + "  last: {}\n").yaml(), where="config.yaml")
    assert empty["optimizer.groups.last"] == {}


def test_the_shown_config_is_the_config(compose):
    shown = yaml.safe_load(annotated_yaml(compose()))
    assert shown["optimizer"] == yaml.safe_load(OPTION)


def test_a_change_of_one_group_leaves_the_others_as_they_are(compose, tmp_path):
    stored = compose(OPTION, "optimizer.groups.rest.lr=0.5", "+optimizer.groups.more.lr=1")
    advice = ["optimizer.groups.matrices.lr=0.3", "optimizer.groups.more.lr=2", "clip=none"]
    after = changed(stored, advice, config_dir=tmp_path)
    owns = {name: group.own for name, group in groups_of(after).items()}
    assert owns == {
        "matrices": {"momentum": 0.5, "lr": 0.3},
        "rest": {"lr": 0.5},
        "more": {"lr": 2},
    }
    assert after.config.clip.option == "none"


@pytest.mark.parametrize(
    ("line", "problem", "where", "choices"),
    [
        ("{where: {dimension: 2}}", "A rule has no 'dimension'.", "x.where", "x.where.dimensions"),
        ("{where: {module: Linear}}", "A rule has no 'module'.", "x.where", "x.where.modules"),
        ("{where: {dimensions: two}}", "x.where.dimensions is 'two'", "x.where.dimensions", ""),
        ("{where: {dimensions: true}}", "x.where.dimensions is True", "x.where.dimensions", ""),
        ("{where: {names: [1]}}", "x.where.names is [1]", "x.where.names", ""),
        ("{where: {roles: head}}", "has no role 'head'", "x.where.roles", "hidden"),
        ("{where: {not_roles: [input, vectr]}}", "no role 'vectr'", "x.where.not_roles", "vector"),
        ("{where: {names: []}}", "x.where.names is []", "x.where.names", ""),
        ("{where: all}", "x.where is 'all'", "x.where", "x.where.dimensions"),
        ("{dimensions: 2}", "'dimensions' is a rule", "x.dimensions", ""),
        ("{lr: fast}", "x.lr is 'fast'; SGD expects", "x.lr", ""),
        ("{lr: -1}", "x.lr is -1; a learning rate must be", "x.lr", ""),
        ("{momentun: 0.5}", "SGD takes no 'momentun'.", "x.momentun", "x.momentum"),
        ("{_target_: torch.optim.Adan}", "torch.optim has no class", "x._target_", "torch.optim.A"),
        ("{_target_: os.path.join}", "'os.path.join' is not in a package", "x._target_", ""),
        ("{_target_: torch.nn.Linear}", "does not derive from torch.optim", "x._target_", ""),
        ("{_target_: 3}", "names no class", "x", ""),
        ("{_target_: torch.optim.AdamW, momentum: 1}", "AdamW takes no 'momentum'", "x.mom", ""),
        ("3", "x is 3; it has a rule", "x", ""),
    ],
)
def test_a_mistake_in_a_group_is_named(compose, line, problem, where, choices):
    option = f"_target_: torch.optim.SGD\nlr: 0.1\ngroups:\n  x: {line}\n"
    error = refusal(compose, option)
    assert problem in error.problem
    assert error.where.startswith(f"optimizer.groups.{where}")
    assert error.where.endswith("grouped.yaml")
    assert any(choices in one for one in error.choices) or not choices


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ("[{name: a}]", "it has a key for each group"),
        ("3", "it has a key for each group"),
        ("{a.b: {}}", "'a.b' cannot name a group"),
        ("{1: {}}", "'1' cannot name a group"),
    ],
)
def test_what_is_no_table_of_groups_is_refused(compose, groups, problem):
    option = f"_target_: torch.optim.SGD\nlr: 0.1\ngroups: {groups}\n"
    assert problem in refusal(compose, option).problem


def test_a_group_that_does_not_exist_names_the_nearest(compose):
    error = refusal(compose, OPTION, "optimizer.groups.rset.lr=0.1")
    assert error.problem == "optimizer=grouped has no group 'rset'."
    assert error.choices == ("optimizer.groups.rest.lr",)
    assert error.hint == "optimizer.groups.rest.lr=0.1"
    with pytest.raises(UserError) as caught:
        compose_train(["optimizer.groups.rest.lr=0.1"])
    assert caught.value.hint == "+optimizer.groups.rest.lr=0.1"


def test_a_comparison_varies_a_key_of_a_group(compose, tmp_path):
    compose()
    composed = compose_comparison(
        ["optimizers=[grouped]", "data=mnist5k"],
        ["optimizer.groups.rest.lr=0.1,0.2"],
        config_dir=tmp_path,
    )
    assert [one[0] for one in composed.variations] == [
        "optimizer.groups.rest.lr=0.1",
        "optimizer.groups.rest.lr=0.2",
    ]


def test_rates_that_a_class_has_by_default_are_made_explicit(compose):
    option = "_target_: torch.optim.SGD\ngroups:\n  x: {where: {dimensions: 2}}\n"
    composed = compose(option + "  y: {_target_: torch.optim.AdamW}\n")
    section, plain = composed.config.optimizer, composed.plain["optimizer"]
    explicit = with_explicit_rates(section, composed.classes, plain)
    assert explicit["lr"] == 0.001
    assert explicit["groups"]["x"] == {"where": {"dimensions": 2}}
    assert explicit["groups"]["y"] == {"_target_": "torch.optim.AdamW", "lr": 0.001}
    plain_adam = compose_train([])
    given = plain_adam.plain["optimizer"]
    assert with_explicit_rates(plain_adam.config.optimizer, plain_adam.classes, given) == given
