"""Values checked against the schema: a config as plain data in, typed dataclasses out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from gradcli.config.config_files import CHOICES, LIST_GROUPS
from gradcli.config.data_config import data_fields
from gradcli.config.parameter_groups import with_parameter_groups
from gradcli.config.schema import DataConfig, Section, check_limits
from gradcli.config.targets import accepts, check_arguments, in_words, resolve_target
from gradcli.errors import UserError, nearest

_Schema = TypeVar("_Schema")


def typed(
    schema: type[_Schema],
    plain: dict[str, Any],
    *,
    files: dict[str, str],
    allow_import: Sequence[str],
) -> tuple[_Schema, dict[str, type]]:
    """Check every value of a composed config, and give it its type.

    The classes come last: importing them imports torch, and an error about a wrong number should
    not wait for that. The class of the data is left to `config.data_config.with_source`.

    Returns:
        The config, and the class that each section names: by its group, by `recorder/OPTION` or
        `tracker/OPTION` for a recorder or a tracker, and by `optimizer.groups.NAME` for a
        parameter group.

    Raises:
        UserError: if a value has the wrong type or is out of its limits.
    """
    sections: list[Section] = []

    def build(cls: type, values: Any, prefix: str) -> Any:
        file = files[prefix.rstrip(".") if prefix.rstrip(".") in files else ""]
        hints = get_type_hints(cls)
        if not isinstance(values, dict):
            raise UserError(
                f"{prefix.rstrip('.')} is {values!r}; it has several keys, each with a value.",
                where=file,
                choices=[prefix + name for name in hints],
                hint=f"{prefix}{next(iter(hints))}=VALUE",
            )
        if cls is DataConfig:
            values = data_fields(values)
        for key in values:
            if key not in hints and prefix + key != CHOICES:
                raise UserError(
                    f"There is no key '{prefix}{key}'.",
                    where=file,
                    choices=[prefix + name for name in nearest(key, hints)],
                )
        built: dict[str, Any] = {}
        for name, hint in hints.items():
            key = prefix + name
            if hint == tuple[Section, ...]:
                built[name] = listed_sections(name, values.get(name) or {}, files)
                sections.extend(built[name])
                continue
            if name not in values:
                raise UserError(f"The key '{key}' has no value.", where=file, hint=f"{key}=VALUE")
            if hint is Section:
                built[name] = section_of(plain, plain[CHOICES], name, files[name])
                sections.append(built[name])
            elif is_dataclass(hint):
                built[name] = build(hint, values[name], f"{key}.")  # type: ignore[arg-type]
            elif accepts(hint, values[name]):
                built[name] = values[name]
            else:
                raise _ill_typed(key, values[name], hint, files.get(key, file))
        return cls(**built)

    config: _Schema = build(schema, plain, "")
    check_limits(config)
    classes: dict[str, type] = {}
    of_groups = [one.section for section in sections for one in section.parameter_groups]
    for section in (*sections, *of_groups):
        key = section.key
        if key in LIST_GROUPS:
            key = f"{key}/{section.option}"
        file = files.get(section.group if section.inside else key, files[""])
        classes[key] = resolve_target(section, file, allow_import)
        check_arguments(section, classes[key], file)
    return config, classes


def listed_sections(key: str, values: Any, files: dict[str, str]) -> tuple[Section, ...]:
    """Return a section for each recorder, or tracker, of a resolved config, in its order.

    Raises:
        UserError: if one of them names no class.
    """
    group = next(group for group, listing in LIST_GROUPS.items() if listing == key)
    if not isinstance(values, dict):
        raise UserError(
            f"{key} is {values!r}; a resolved config has the keys of each {group} there.",
            where=files[""],
        )
    options = {group: ""}
    sections = []
    for name, keys in values.items():
        file = files.get(f"{group}/{name}", files[""])
        section = section_of({group: keys}, options, group, file)
        sections.append(Section(group, name, section.target, section.arguments))
    return tuple(sections)


def _ill_typed(key: str, value: Any, hint: Any, file: str) -> UserError:
    choices = [str(choice) for choice in get_args(hint) if isinstance(choice, str)]
    if not choices:
        return UserError(
            f"{key} is {value!r}, which is not {in_words(hint)}.", where=f"{key} in {file}"
        )
    likely = nearest(str(value), choices) or choices
    return UserError(
        f"{key} is {value!r}; it must be one of {', '.join(choices)}.",
        where=f"{key} in {file}",
        choices=likely,
        hint=f"{key}={likely[0]}",
    )


def section_of(plain: dict[str, Any], options: dict[str, str], group: str, file: str) -> Section:
    """Return the section of a group: the name and the arguments of its class, unchecked.

    Raises:
        UserError: if the group names no class, or `optimizer.groups` has what is no rule.
    """
    values = plain[group]
    if not isinstance(values, dict) or not isinstance(values.get("_target_"), str):
        raise UserError(
            f"{group} names no class.",
            where=file,
            hint="a line such as `_target_: torch.optim.Adam` in that file",
        )
    arguments = {name: value for name, value in values.items() if name != "_target_"}
    section = Section(group, options[group], values["_target_"], arguments)
    return with_parameter_groups(section, file)
