"""The `data` section: its keys, and the class that loads the data.

A shipped data set is known by its name, which is what a resolved config keeps of it: the
`_target_` is looked up in `configs/data/`. A user's own data set keeps its `_target_`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from typing import Any

import yaml  # type: ignore[import-untyped]

from gradcli.config.config_files import ConfigFiles
from gradcli.config.schema import DataConfig, Section
from gradcli.config.targets import check_arguments, resolve_target
from gradcli.errors import UserError, nearest
from gradcli.system.source_files import is_same_file

#: What a user's own file may leave out. A file without a name is named after itself.
_DEFAULTS = {"val": None, "folder": None, "normalize": "mean_std", "drop_last": False}
_COMMON = ("name", *_DEFAULTS)
_SHIPPED_PACKAGE = "gradcli.data."


def data_section(values: Any, option: str) -> Any:
    """Return the values of an option's file, plus the keys that it leaves out."""
    if not isinstance(values, dict):
        return values  # an error, which the check of the values reports
    return {"name": option, **_DEFAULTS, **values}


def data_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `DataConfig`, unchecked, from the values of the section.

    Raises:
        UserError: if it names neither a class nor a shipped data set.
    """
    name, target = str(values.get("name")), values.get("_target_", _SHIPPED_PACKAGE)
    if not isinstance(target, str):
        raise UserError(
            f"data._target_ is {target!r}; it must be the name of a class.",
            where="data._target_",
            hint="data=NAME, one of those that `gradcli configs data` lists",
        )
    if target == _SHIPPED_PACKAGE:
        target = shipped_target(name)
    elif _is_shipped(name, target) and target != shipped_target(name):
        raise UserError(
            f"'{name}' is the name of a data set that is shipped, and of another class than "
            f"{target}.",
            where="data.name",
            hint=f"data.name=my_{name}; or data={name}, if that one is meant",
        )
    common = {key: value for key, value in values.items() if key in _COMMON}
    others = {key: value for key, value in values.items() if key not in (*_COMMON, "_target_")}
    return {**common, "target": target, "arguments": others, "source": None}


def data_config(values: Mapping[str, Any], *, file: str, allow_import: Sequence[str]) -> DataConfig:
    """Return the config of a section that a resolved config holds, with its class imported.

    Raises:
        UserError: if the class cannot be used.
    """
    names = {field.name for field in fields(DataConfig)}
    known = {key: value for key, value in data_fields(values).items() if key in names}
    return with_source(DataConfig(**known), file=file, allow_import=allow_import)


def with_source(data: DataConfig, *, file: str, allow_import: Sequence[str]) -> DataConfig:
    """Return the config with its class imported and its arguments checked.

    Raises:
        UserError: if the class cannot be used, or does not take one of the arguments.
    """
    section = Section("data", data.name, data.target, data.arguments)
    refuse_foreign_file(str(data.arguments.get("file", "")), file, allow_import)
    source = resolve_target(section, file, allow_import)
    check_arguments(section, source, file)
    return replace(data, source=source)


def refuse_foreign_file(path: str, file: str, allow_import: Sequence[str]) -> None:
    """Refuse to run a Python file that nobody has allowed: a config may be a stranger's.

    Args:
        path: of the file; empty for none.
        file: the config that names it, for errors.
        allow_import: the packages and the files that the user allows.

    Raises:
        UserError: if it is not one of the files.
    """
    if path and not any(is_same_file(path, allowed) for allowed in allow_import):
        raise UserError(
            f"{path} is code, which runs only if you allow it.",
            where=f"data.file in {file}",
            hint=f"--allow-import {path}, if you trust what it runs",
        )


def stored_data(values: dict[str, Any]) -> dict[str, Any]:
    """Return the section as a resolved config keeps it: without the class of a shipped set."""
    if _is_shipped(values["name"], values.get("_target_", _SHIPPED_PACKAGE)):
        return {key: value for key, value in values.items() if key != "_target_"}
    return values


def is_shipped(data: DataConfig) -> bool:
    """Whether it is one of the data sets in `configs/data/`."""
    return _is_shipped(data.name, data.target)


def _is_shipped(name: str, target: str) -> bool:
    """Whether the name is enough: a user's file may give one of our classes another name."""
    return name in shipped_names() and target.startswith(_SHIPPED_PACKAGE)


@cache
def shipped_names() -> tuple[str, ...]:
    """Return the names of the data sets in `configs/data/`."""
    return tuple(ConfigFiles().options("data"))


@cache
def shipped_target(name: str) -> str:
    """Return the class of a shipped data set, as its file in `configs/data/` names it.

    Raises:
        UserError: if there is no such data set.
    """
    if name not in shipped_names():
        raise UserError(
            f"There is no data set named '{name}'.",
            where="data.name",
            choices=nearest(name, shipped_names()) or shipped_names(),
        )
    values = yaml.safe_load(ConfigFiles().path("data", name).read_text(encoding="utf-8"))
    return str(values["_target_"])
