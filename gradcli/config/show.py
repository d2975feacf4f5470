"""The resolved config as text that says which file each part comes from."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from gradcli.config.compose import Composed


def annotated_yaml(composed: Composed) -> str:
    """Return the config as YAML; a comment on each part names its file."""
    lines = []
    plain = {**composed.plain, "recorders": [one.option for one in composed.config.recorders]}
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
    if isinstance(value, list):
        flat = f"{name}: [{', '.join(str(item) for item in value)}]"
    mark = "  # command line" if prefix + name in composed.overridden else ""
    return indent + flat + mark
