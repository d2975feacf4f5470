"""A resolved config as one flat table of settings, to be laid beside another one's."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError  # type: ignore[import-untyped]

from gradcli.config.defaults import with_defaults
from gradcli.config.loading import as_plain, yaml_error
from gradcli.config.values import CHOICES
from gradcli.errors import UserError


def flat_settings(text: str, *, where: str) -> dict[str, Any]:
    """Return the settings of a config by the keys with which an override sets them.

    `optimizer` is the option that was chosen, `optimizer.lr` what it was given. A key that did
    not exist yet when the YAML was written has its default.

    Args:
        text: the YAML.
        where: the file that it comes from, for errors.

    Raises:
        UserError: where it is no YAML, or no table of settings.
    """
    try:
        config = OmegaConf.create(text)
        plain = as_plain(config) if isinstance(config, DictConfig) else {}
    except MarkedYAMLError as error:
        raise yaml_error(error, where) from None
    except (YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"This is no config: {str(error).splitlines()[0]}.", where=where) from None
    if CHOICES in plain:  # which a loop of the user's own does not have
        plain = with_defaults(plain)
    choices = plain.pop(CHOICES, {})
    if not plain or not isinstance(choices, dict):
        raise UserError("This is no config: it is no table of settings.", where=where)
    settings: dict[str, Any] = {}
    for key, value in plain.items():
        if key in choices:
            settings[key] = choices[key]
        inner = value if isinstance(value, dict) else {}
        settings |= {f"{key}.{name}": one for name, one in inner.items()} or {key: value}
    return settings
