"""Which group takes which parameter, and what is refused."""

import pytest
import torch
from torch import nn

from gradcli.errors import UserError
from gradcli.optim import RuledGroup, route
from gradcli.optim.routing import meets


class Words(nn.Embedding):
    """A class of the user's own that derives from one of torch's."""


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = Words(10, 4)
        self.hidden = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.output = nn.Linear(4, 10)


def group(name, **rule):
    return RuledGroup(name, {key: as_list(value) for key, value in rule.items()}, {})


def as_list(value):
    return value if isinstance(value, list) else [value]


def taken(*groups, model=None):
    routed = route(model or Net(), groups)
    return {name: list(parameters) for name, parameters in routed.items()}


MATRICES = ["words.weight", "hidden.weight", "output.weight"]
VECTORS = ["hidden.bias", "norm.weight", "norm.bias", "output.bias"]


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ({"dimensions": 2}, MATRICES),
        ({"not_dimensions": 1}, MATRICES),
        ({"dimensions": [0, 1]}, VECTORS),
        ({"names": "*.bias"}, ["hidden.bias", "norm.bias", "output.bias"]),
        ({"names": ["hidden.*", "norm.*"]}, [MATRICES[1], *VECTORS[:3]]),
        ({"not_names": "*.bias"}, ["words.weight", "hidden.weight", "norm.weight", MATRICES[2]]),
        ({"modules": "LayerNorm"}, ["norm.weight", "norm.bias"]),
        ({"modules": "*Norm"}, ["norm.weight", "norm.bias"]),
        ({"modules": "Embedding"}, ["words.weight"]),
        ({"roles": "hidden"}, ["hidden.weight"]),
        ({"roles": ["input", "output"]}, ["words.weight", "output.weight"]),
        ({"not_roles": "vector"}, MATRICES),
        ({"dimensions": 2, "not_modules": ["Embedding"], "names": "h*"}, ["hidden.weight"]),
    ],
)
def test_a_rule_takes_what_meets_each_of_its_properties(rule, names):
    routed = taken(group("some", **rule), group("rest"))
    assert sorted(routed["some"]) == sorted(names)
    assert sorted(routed["some"] + routed["rest"]) == sorted(MATRICES + VECTORS)


def test_the_first_group_whose_rule_is_met_takes_a_parameter():
    first, second = group("hidden", names="hidden.*"), group("matrices", dimensions=2)
    rest = group("rest")
    assert "hidden.weight" in taken(first, second, rest)["hidden"]
    assert "hidden.weight" in taken(second, first, rest)["matrices"]


def test_a_parameter_counts_once_and_a_frozen_one_not_at_all():
    model = Net()
    model.output.weight = model.words.weight
    model.norm.requires_grad_(False)
    assert taken(group("all"), model=model)["all"] == [
        *("words.weight", "hidden.weight", "hidden.bias", "output.bias"),
    ]


def test_names_and_classes_are_told_apart_by_case():
    linear, weight = nn.Linear(2, 2), nn.Parameter(torch.zeros(2, 2))
    assert meets({"modules": ["Linear"]}, "a.Weight", weight, linear, "hidden")
    assert not meets({"modules": ["linear"]}, "a.Weight", weight, linear, "hidden")
    assert not meets({"names": ["*.weight"]}, "a.Weight", weight, linear, "hidden")


def test_a_parameter_that_no_group_takes_is_named():
    with pytest.raises(UserError) as caught:
        taken(group("matrices", dimensions=2), group("norms", modules="LayerNorm"))
    assert caught.value.problem == "No group takes the parameter hidden.bias and 1 more."
    assert "rest: {}" in caught.value.hint
    with pytest.raises(UserError, match=r"No group takes the parameter words\.weight\.\n"):
        taken(group("most", not_modules="Embedding"))


def test_a_group_that_takes_nothing_names_what_is_near_to_its_rule():
    with pytest.raises(UserError, match="'hidden' takes no parameter: none meets") as caught:
        taken(group("hidden", names="hiden.weight"), group("rest"))
    assert caught.value.where == "optimizer.groups.hidden.where"
    assert caught.value.choices[0] == "hidden.weight"
    with pytest.raises(UserError) as caught:
        taken(group("norms", modules="LayreNorm"), group("rest"))
    assert caught.value.choices == ("LayerNorm",)
    with pytest.raises(UserError) as caught:
        taken(group("images", dimensions=4), group("rest"))
    assert set(caught.value.choices) <= {*MATRICES, *VECTORS}


def test_a_group_that_an_earlier_one_leaves_nothing_to_names_that_one():
    with pytest.raises(UserError, match="'all', which comes before it, takes hidden") as caught:
        taken(group("all"), group("hidden", names="hidden.*"))
    assert "'hidden' before 'all'" in caught.value.hint
