"""`optimizer.groups`: rules and settings of parameter groups, checked before torch loads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gradcli.config.schema import ParameterGroupConfig, Section
from gradcli.config.targets import configured_rate
from gradcli.errors import UserError, nearest

#: The key of an optimizer's option that holds its groups.
GROUPS_KEY = "groups"
_PROPERTIES = {"dimensions": int, "modules": str, "names": str, "roles": str}
#: What a parameter can be to a network; `gradcli.optim.roles` tells which.
ROLES = ("input", "hidden", "output", "vector")
#: What a rule may ask of a parameter, and the type of what it lists.
RULES: dict[str, type] = {
    key: kind for name, kind in _PROPERTIES.items() for key in (name, f"not_{name}")
}
_IN_WORDS = {int: "a whole number, or a list of them", str: "text, or a list of texts"}
_EXAMPLES = {"dimensions": "2", "modules": "Linear", "names": "hidden*", "roles": "hidden"}
_NAME = re.compile(r"\w[\w-]*")


def with_parameter_groups(section: Section, file: str) -> Section:
    """Return an optimizer's section with the key `groups` read; others as they are.

    Raises:
        UserError: if the key holds something else than groups, or a rule is none.
    """
    if section.group != "optimizer" or GROUPS_KEY not in section.arguments:
        return section
    arguments = {key: value for key, value in section.arguments.items() if key != GROUPS_KEY}
    alone = replace(section, arguments=arguments)
    groups = section.arguments[GROUPS_KEY]
    if not isinstance(groups, dict):
        raise UserError(
            f"optimizer.{GROUPS_KEY} is {groups!r}; it has a key for each group, its name.",
            where=f"optimizer.{GROUPS_KEY} in {file}",
            hint="groups: {matrices: {where: {dimensions: 2}, lr: 0.02}, rest: {}}",
        )
    found = tuple(_group(alone, name, values or {}, file) for name, values in groups.items())
    return replace(alone, parameter_groups=found)


def _group(section: Section, name: Any, values: Any, file: str) -> ParameterGroupConfig:
    key = f"optimizer.{GROUPS_KEY}.{name}"
    where = f"{key} in {file}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(
            f"'{name}' cannot name a group; letters, digits, _ and - can.",
            where=where,
        )
    if not isinstance(values, dict):
        raise UserError(
            f"{key} is {values!r}; it has a rule under `where`, and keywords.",
            where=where,
            hint=f"{name}: {{where: {{dimensions: 2}}, lr: 0.01}}",
        )
    own = {one: value for one, value in values.items() if one not in ("where", "_target_")}
    for one in own.keys() & RULES.keys():
        raise UserError(
            f"'{one}' is a rule, which stands under `where`.",
            where=f"{key}.{one} in {file}",
            hint=f"{name}: {{where: {{{one}: {own[one]}}}}}",
        )
    target = values.get("_target_")
    if target is not None and not isinstance(target, str):
        raise UserError(f"{key} names no class: `_target_` is {target!r}.", where=where)
    return ParameterGroupConfig(
        name=name,
        rule=_rule(key, values.get("where") or {}, file),
        own=own,
        has_own_class=target is not None,
        section=replace(
            section,
            target=target or section.target,
            arguments=own if target else {**section.arguments, **own},
            inside=key,
        ),
    )


def _rule(key: str, rule: Any, file: str) -> dict[str, list[int | str]]:
    """Return what a rule lists for each property.

    Raises:
        UserError: if there is no such property, or it lists something of another type.
    """
    if not isinstance(rule, dict):
        raise UserError(
            f"{key}.where is {rule!r}; it says what a parameter must be.",
            where=f"{key}.where in {file}",
            choices=[f"{key}.where.{name}" for name in _PROPERTIES],
            hint=f"where: {{dimensions: {_EXAMPLES['dimensions']}}}; without `where` a group takes "
            "all that is left",
        )
    listed = {}
    for name, value in rule.items():
        if name not in RULES:
            likely = nearest(str(name), RULES)
            raise UserError(
                f"A rule has no '{name}'.",
                where=f"{key}.where in {file}",
                choices=[f"{key}.where.{one}" for one in likely or RULES],
            )
        kind, items = RULES[name], value if isinstance(value, list) else [value]
        if not items or not all(type(item) is kind for item in items):
            example = _EXAMPLES[name.removeprefix("not_")]
            raise UserError(
                f"{key}.where.{name} is {value!r}, which is not {_IN_WORDS[kind]}.",
                where=f"{key}.where.{name} in {file}",
                hint=f"{name}: {example}",
            )
        if name.endswith("roles") and (unknown := [item for item in items if item not in ROLES]):
            raise UserError(
                f"A parameter has no role '{unknown[0]}'.",
                where=f"{key}.where.{name} in {file}",
                choices=nearest(unknown[0], ROLES) or ROLES,
            )
        listed[name] = items
    return listed


def with_explicit_rates(
    section: Section, classes: Mapping[str, type], plain: dict[str, Any]
) -> dict[str, Any]:
    """Return an optimizer's part of a config with each learning rate that a class has by default.

    A comparison multiplies them, so it must find them. Without groups there is one rate, which is
    set and not multiplied, so nothing is added.

    Args:
        section: of the optimizer.
        classes: of the config's sections.
        plain: the optimizer's part of the config.
    """
    if not section.parameter_groups:
        return plain
    groups = dict(plain[GROUPS_KEY])
    for group in section.parameter_groups:
        rate = configured_rate(classes[group.section.key], group.section.arguments)
        if group.has_own_class and rate is not None:
            groups[group.name] = {**groups[group.name], "lr": rate}
    rate = configured_rate(classes["optimizer"], section.arguments)
    own = {} if rate is None else {"lr": rate}
    return {**plain, **own, GROUPS_KEY: groups}
