"""The only calls of Hydra: config files and overrides in, a resolved config as plain data out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir, version
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError  # type: ignore[import-untyped]

from gradcli.config.config_files import ConfigFiles, shipped_configs
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


def as_plain(config: Any) -> dict[str, Any]:
    """Return a config as plain data: interpolations resolved, without Hydra's own part."""
    if "hydra" in config:
        config = _without_hydra(config)
    try:
        container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise UserError(str(error).splitlines()[0], where="the config") from None
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def load_file(path: Path) -> dict[str, Any]:
    """Return the keys of a config file that Hydra does not compose.

    Raises:
        UserError: if it is not YAML, or holds no keys.
    """
    try:
        config = OmegaConf.load(path)
    except MarkedYAMLError as error:
        raise yaml_error(error, str(path)) from None
    if not isinstance(config, DictConfig):
        raise UserError("The file must hold keys and values.", where=str(path))
    return as_plain(config)


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
