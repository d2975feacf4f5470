"""A resolved config for a reader: one flat table of settings, or YAML with its files."""

from __future__ import annotations

import textwrap
from typing import Any

from omegaconf import OmegaConf

from gradcli.config.compose import Composed
from gradcli.config.config_files import CHOICES, LIST_GROUPS
from gradcli.config.loading import stored_values, with_defaults
from gradcli.config.parameter_groups import GROUPS_KEY
from gradcli.errors import UserError


def flat_settings(text: str, *, where: str) -> dict[str, Any]:
    """Return the settings of a config by the keys with which an override sets them.

    `optimizer` is the option that was chosen, `optimizer.lr` what it was given. A key that did
    not exist yet when the YAML was written has its default.

    Args:
        text: the YAML.
        where: the file that it comes from, for errors.

    Raises:
        UserError: if it is not YAML, not a table of settings, or holds an interpolation.
    """
    plain = stored_values(text, where=where)
    if not isinstance(plain.get(CHOICES, {}), dict) or not set(plain) - {CHOICES}:
        raise UserError("This is not a config: it is not a table of settings.", where=where)
    # The user's own loop chooses no options.
    return flattened(with_defaults(plain) if CHOICES in plain else plain)


def flattened(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a resolved config by the keys with which an override sets them.

    `optimizer` is the option that was chosen, and `optimizer.lr` the value of its keyword.
    """
    choices = plain.get(CHOICES, {})
    settings: dict[str, Any] = {}
    for key, value in plain.items():
        if key == CHOICES:
            continue
        if key in choices:
            settings[key] = choices[key]
        inner = value if isinstance(value, dict) else {}
        settings |= {f"{key}.{name}": one for name, one in inner.items()} or {key: value}
    key = f"optimizer.{GROUPS_KEY}"
    return settings | _leaves(settings.pop(key), key) if key in settings else settings


def _leaves(value: Any, key: str) -> dict[str, Any]:
    """Return all that tables within tables hold, by their whole keys; an empty table as it is."""
    if not isinstance(value, dict) or not value:
        return {key: value}
    return {
        inner: one
        for name, item in value.items()
        for inner, one in _leaves(item, f"{key}.{name}").items()
    }


def annotated_yaml(composed: Composed) -> str:
    """Return the config as YAML; a comment on each part names its file."""
    lines = []
    listed = {
        key: [one.option for one in getattr(composed.config, key)] for key in LIST_GROUPS.values()
    }
    plain = {**with_defaults(composed.plain), **listed}
    for key, value in plain.items():
        if key == "choices":
            continue
        file = composed.files.get(key, composed.files[""])
        if isinstance(value, dict):
            lines.append(f"{key}:  # {file}")
            lines += [_line(composed, name, item, f"{key}.", "  ") for name, item in value.items()]
        else:
            lines.append(_line(composed, key, value, "", ""))
    head = f"# {composed.files['']}, except for the parts that name another file\n"
    return head + "\n".join(lines) + "\n"


def _line(composed: Composed, name: str, value: Any, prefix: str, indent: str) -> str:
    flat = OmegaConf.to_yaml(OmegaConf.create({name: value})).rstrip("\n")
    if isinstance(value, list) and not any(isinstance(item, dict) for item in value):
        flat = f"{name}: [{', '.join(str(item) for item in value)}]"
    key = prefix + name
    file = composed.files.get(key)
    if key in composed.overridden:
        file = "command line"
    mark = f"  # {file}" if file else ""
    return textwrap.indent(flat, indent) + mark
