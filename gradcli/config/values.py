"""Values checked against the schema: a config as plain data in, typed dataclasses out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from gradcli.config.schema import Section, check_limits
from gradcli.config.targets import accepts, check_arguments, resolve_target
from gradcli.errors import UserError, nearest

#: The key under which a config notes the chosen option of each group.
CHOICES = "choices"
_Schema = TypeVar("_Schema")


def typed(
    schema: type[_Schema],
    plain: dict[str, Any],
    *,
    files: dict[str, str],
    allow_import: Sequence[str],
) -> tuple[_Schema, dict[str, type]]:
    """Check every value of a composed config, and give it its type.

    The classes come last: to find them imports torch, which a wrong number need not wait for.

    Returns:
        The config, and the class that each section names.

    Raises:
        UserError: for anything of a wrong type or out of its limits.
    """
    sections: list[Section] = []

    def build(cls: type, values: Any, prefix: str) -> Any:
        file = files[prefix.rstrip(".") if prefix.rstrip(".") in files else ""]
        hints = get_type_hints(cls)
        if not isinstance(values, dict):
            raise UserError(
                f"{prefix.rstrip('.')} is {values!r}, where several keys belong.",
                where=file,
                choices=[prefix + name for name in hints],
                hint=f"{prefix}{next(iter(hints))}=VALUE",
            )
        for key in values:
            if key not in hints and prefix + key != CHOICES:
                raise UserError(
                    f"There is no key '{prefix}{key}'.",
                    where=file,
                    choices=[prefix + name for name in nearest(key, hints)],
                )
        built = {}
        for name, hint in hints.items():
            key = prefix + name
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
                raise _ill_typed(key, values[name], hint, file)
        return cls(**built)

    config: _Schema = build(schema, plain, "")
    check_limits(config)
    classes: dict[str, type] = {}
    for section in sections:
        file = files[section.group]
        classes[section.group] = resolve_target(section, file, allow_import)
        check_arguments(section, classes[section.group], file)
    return config, classes


def _ill_typed(key: str, value: Any, hint: Any, file: str) -> UserError:
    choices = [str(choice) for choice in get_args(hint) if isinstance(choice, str)]
    if not choices:
        return UserError(
            f"{key} is {value!r}, which is no {_in_words(hint)}.", where=f"{key} in {file}"
        )
    likely = nearest(str(value), choices) or choices
    return UserError(
        f"{key} is {value!r}, which is none of {', '.join(choices)}.",
        where=f"{key} in {file}",
        choices=likely,
        hint=f"{key}={likely[0]}",
    )


def _in_words(hint: Any) -> str:
    names = {"int": "whole number", "float": "number", "bool": "true or false", "str": "text"}
    parts = str(getattr(hint, "__name__", hint)).replace("NoneType", "None").split(" | ")
    return " or ".join(names.get(part, "null" if part == "None" else part) for part in parts)


def section_of(plain: dict[str, Any], options: dict[str, str], group: str, file: str) -> Section:
    """Return the section of a group: its class's name and arguments, neither of them checked.

    Raises:
        UserError: where the group names no class.
    """
    values = plain[group]
    if not isinstance(values, dict) or not isinstance(values.get("_target_"), str):
        raise UserError(
            f"{group} names no class.",
            where=file,
            hint="a line such as `_target_: torch.optim.Adam` in that file",
        )
    arguments = {name: value for name, value in values.items() if name != "_target_"}
    return Section(group, options[group], values["_target_"], arguments)
