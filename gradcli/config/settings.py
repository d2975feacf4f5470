"""A resolved config as one flat table of settings, to be laid beside another one's."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf
from yaml import MarkedYAMLError  # type: ignore[import-untyped]

from gradcli.config.loading import as_plain, yaml_error
from gradcli.config.values import CHOICES


def flat_settings(text: str, *, where: str) -> dict[str, Any]:
    """Return the settings of a config by the keys with which an override sets them.

    `optimizer` is the option that was chosen, `optimizer.lr` what it was given. Classes are left
    out, as the option names them.

    Args:
        text: the YAML.
        where: the file that it comes from, for errors.

    Raises:
        UserError: where it is no YAML.
    """
    try:
        plain = as_plain(OmegaConf.create(text))
    except MarkedYAMLError as error:
        raise yaml_error(error, where) from None
    settings: dict[str, Any] = {}
    choices = plain.pop(CHOICES, {})
    for key, value in plain.items():
        if not isinstance(value, dict):
            settings[key] = value
            continue
        if key in choices:
            settings[key] = choices[key]
        inner = {name: one for name, one in value.items() if name != "_target_"}
        settings |= {f"{key}.{name}": one for name, one in inner.items()}
    return settings
