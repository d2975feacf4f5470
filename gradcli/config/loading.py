"""The only calls of Hydra: config files and overrides in, a resolved config as plain data out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError  # type: ignore[import-untyped]

from gradcli.config.config_files import CHOICES, LATER_GROUPS, ConfigFiles, shipped_configs
from gradcli.errors import UserError


def compose_with_hydra(root: str, overrides: list[str], files: ConfigFiles) -> DictConfig:
    """Let Hydra compose; its own errors become a `UserError`."""
    search = []
    if files.own is not None:
        path = str(files.own.resolve()).replace("'", r"\'")
        search = [f"hydra.searchpath=['file://{path}']"]
    try:
        with _own_hydra():
            return compose(root, [*search, *overrides], return_hydra_config=True)
    except MarkedYAMLError as error:
        raise yaml_error(error, "the config") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(
            str(error).splitlines()[0], where="the config", hint="gradcli train --show-config"
        ) from None


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Initialise Hydra, and restore it for a surrounding program that uses it too."""
    hydra, base = GlobalHydra.instance().hydra, version.VersionBase.instance()
    version_base = base.getbase()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(shipped_configs()), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = hydra
        base.version_base = version_base


def with_values(config: DictConfig, overrides: Sequence[Override]) -> DictConfig:
    """Return a composed config with the values of the overrides set.

    Composing again with them gives the same result, but takes 5% of the time from the start of
    `gradcli train` to the end of its first step.

    Args:
        config: what `compose_with_hydra` returned; it is not changed.
        overrides: their keys are known to be right, and none of them deletes a key.
    """
    config = _without_hydra(config)
    try:
        for override in overrides:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0], where=override.key_or_group) from None
    return config


def as_plain(config: Any, *, resolve: bool = True) -> dict[str, Any]:
    """Return a config as plain data: interpolations resolved, without Hydra's own part."""
    if "hydra" in config:
        config = _without_hydra(config)
    try:
        container = OmegaConf.to_container(config, resolve=resolve)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0], where="the config") from None
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def load_file(path: Path, *, resolve: bool = True) -> dict[str, Any]:
    """Return the keys of a config file that Hydra does not compose.

    Args:
        path: of the file.
        resolve: whether interpolations are replaced by what they refer to in the file.

    Raises:
        UserError: if it is not YAML, or holds no keys.
    """
    try:
        config = OmegaConf.load(path)
    except MarkedYAMLError as error:
        raise yaml_error(error, str(path)) from None
    if not isinstance(config, DictConfig):
        raise UserError("The file must hold keys and values.", where=str(path))
    return as_plain(config, resolve=resolve)


def stored_values(text: str, *, where: str) -> dict[str, Any]:
    """Return the plain data of a config that was stored; empty if it holds no keys.

    Args:
        text: the YAML that `Composed.yaml` returned.
        where: the file that it comes from, for errors.

    Raises:
        UserError: if it is not YAML, or holds an interpolation. Each was resolved before it was
            stored; another one could copy a variable of the environment, `${oc.env:TOKEN}`, into
            the run.
    """
    try:
        config = OmegaConf.create(text)
    except MarkedYAMLError as error:
        raise yaml_error(error, where) from None
    except (YAMLError, OmegaConfBaseException) as error:
        raise UserError(
            f"This is not a config: {str(error).splitlines()[0]}.", where=where
        ) from None
    plain = OmegaConf.to_container(config, resolve=False)
    for key, value in interpolations(plain):
        raise UserError(
            f"{key} is '{value}', an interpolation. gradcli stores values, so somebody else wrote "
            "this.",
            where=f"{key} in {where}",
            hint="the value itself, if you trust the rest of the run",
        )
    return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}


def with_defaults(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a training config with each key that it lacks as `configs/train.yaml` has it.

    A key is added to that file with the value that runs had, in effect, before it existed. So
    an older run resumes the way it began. Options of groups are left alone: an argument that they
    lack has its default in the class. A whole group that it lacks has the option of `LATER_GROUPS`.
    """
    config = dict(plain)
    for group, option in LATER_GROUPS.items():
        if group not in config[CHOICES]:
            shipped = load_file(shipped_configs() / group / f"{option}.yaml")
            config[group] = config.get(group, shipped)
            config[CHOICES] = {**config[CHOICES], group: option}
    for key, default in _shipped_values().items():
        if key not in config:
            config[key] = default
        elif isinstance(default, dict) and isinstance(config[key], dict):
            config[key] = config[key] | {
                name: value for name, value in default.items() if name not in config[key]
            }
    return config


@cache
def _shipped_values() -> dict[str, Any]:
    """Return the keys of `configs/train.yaml` that are not options of groups."""
    values = load_file(shipped_configs() / "train.yaml")
    return {key: value for key, value in values.items() if key != "defaults"}


def refuse_literal_interpolations(plain: dict[str, Any]) -> None:
    """Refuse texts that look like interpolations although all of these have been resolved.

    Raises:
        UserError: for the first one: stored, it would be taken for one.
    """
    for key, value in interpolations(plain):
        raise UserError(
            f"{key} is the text '{value}', which holds '${{'. gradcli cannot store such a text.",
            where=key,
        )


def interpolations(plain: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the key and the text of every value that OmegaConf would resolve."""
    if isinstance(plain, str) and "${" in plain:
        yield place, plain
    parts = enumerate(plain) if isinstance(plain, list) else ()
    for key, value in plain.items() if isinstance(plain, dict) else parts:
        yield from interpolations(key, f"{place}.{key}".lstrip("."))
        yield from interpolations(value, f"{place}.{key}".lstrip("."))


def _without_hydra(config: Any) -> Any:
    """Return a copy without Hydra's own part, whose interpolations are not for us to resolve."""
    return OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])


def yaml_error(error: MarkedYAMLError, where: str) -> UserError:
    """Say where a file is not valid YAML."""
    mark = error.problem_mark
    if mark is not None:
        file = where if mark.name.startswith("<") else mark.name
        where = f"line {mark.line + 1} of {file}"
    return UserError(f"This is not valid YAML: {error.problem}.", where=where)
