"""Which group of a config takes which parameter of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from gradcli.errors import UserError, nearest
from gradcli.optim.roles import roles

#: A rule: what a parameter must be, by property. Each property lists the patterns of which one must
#: match, or none if its name begins with `not_`. An empty rule takes everything.
Rule = Mapping[str, Sequence[int | str]]


@dataclass(frozen=True)
class RuledGroup:
    """A group of the config: the rule that parameters must meet, and how they are updated.

    Args:
        name: of the group.
        rule: what a parameter must be.
        kwargs: keyword arguments that hold for this group.
        optimizer_class: the group's own, which then has only `kwargs`; None for that of the
            optimizer around it, whose arguments hold where `kwargs` has no other.
    """

    name: str
    rule: Rule
    kwargs: Mapping[str, Any]
    optimizer_class: type[torch.optim.Optimizer] | None = None

    @property
    def where(self) -> str:
        """Where it stands in the config."""
        return f"optimizer.groups.{self.name}"


def route(model: nn.Module, groups: Sequence[RuledGroup]) -> dict[str, dict[str, nn.Parameter]]:
    """Give each parameter that requires gradients to the first group whose rule it meets.

    Returns:
        The parameters by name, for each group by its name; empty without groups.

    Raises:
        UserError: if no group takes a parameter, or a group takes none.
    """
    if not groups:
        return {}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    routed: dict[str, dict[str, nn.Parameter]] = {group.name: {} for group in groups}
    left = []
    role_of = roles(model)
    for name, parameter in trained.items():
        owner = model.get_submodule(name.rpartition(".")[0])
        what = (name, parameter, owner, role_of[name])
        taker = next((one for one in groups if meets(one.rule, *what)), None)
        if taker is None:
            left.append(name)
        else:
            routed[taker.name][name] = parameter
    # First what explains the other: a misspelt rule also leaves parameters over.
    for group in groups:
        if not routed[group.name]:
            raise _takes_nothing(group, groups, model, trained)
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise UserError(
            f"No group takes the parameter {left[0]}{more}.",
            where="optimizer.groups",
            hint="a last group without `where`, such as `rest: {}`, which takes all that is left",
        )
    return routed


def meets(rule: Rule, name: str, parameter: nn.Parameter, owner: nn.Module, role: str) -> bool:
    """Whether a parameter meets a rule.

    Args:
        rule: the rule.
        name: of the parameter, as in `named_parameters()`.
        parameter: the parameter.
        owner: the module that has it; the names of its class and of the classes from which that
            derives are its kinds.
        role: of the parameter, from `roles`.
    """
    values = {
        "dimensions": [str(parameter.ndim)],
        "modules": [kind.__name__ for kind in type(owner).__mro__],
        "names": [name],
        "roles": [role],
    }
    return all(
        _any_matches(values[key.removeprefix("not_")], patterns) is not key.startswith("not_")
        for key, patterns in rule.items()
    )


def _any_matches(values: Sequence[str], patterns: Sequence[int | str]) -> bool:
    return any(fnmatchcase(value, str(pattern)) for value in values for pattern in patterns)


def _takes_nothing(
    group: RuledGroup,
    groups: Sequence[RuledGroup],
    model: nn.Module,
    trained: Mapping[str, nn.Parameter],
) -> UserError:
    """Return the error for a group without parameters, with the reason."""
    role_of = roles(model)
    for name, parameter in trained.items():
        what = (name, parameter, model.get_submodule(name.rpartition(".")[0]), role_of[name])
        if meets(group.rule, *what):
            earlier = next(one for one in groups if meets(one.rule, *what))
            return UserError(
                f"The group '{group.name}' takes no parameter: '{earlier.name}', which comes "
                f"before it, takes {name} and all others that it could take.",
                where=group.where,
                hint=f"'{group.name}' before '{earlier.name}': the first rule that is met counts",
            )
    wanted, present = group.rule.get("roles", ()), {role_of[name] for name in trained}
    if wanted and present.isdisjoint(map(str, wanted)):
        return UserError(
            f"The group '{group.name}' takes no parameter: this model has no "
            f"{' or '.join(map(str, wanted))} weights to train.",
            where=f"{group.where}.where",
            hint="a model with more layers, or an optimizer without this group",
        )
    patterns = [str(one) for one in group.rule.get("names", ())]
    kinds = [str(one) for one in group.rule.get("modules", ())]
    owned = {name.rpartition(".")[0]: None for name in trained}
    likely = [name for pattern in patterns for name in nearest(pattern, trained)]
    likely += [
        name
        for kind in kinds
        for name in nearest(kind, (type(model.get_submodule(one)).__name__ for one in owned))
    ]
    return UserError(
        f"The group '{group.name}' takes no parameter: none meets its rule.",
        where=f"{group.where}.where",
        choices=likely or list(trained)[:3],
    )
