"""The resolved config as text that says where each part comes from."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from gradcli.config.compose import Composed


def annotated_yaml(composed: Composed) -> str:
    """Return the config as YAML, each part with the file that it came from as a comment."""
    lines = []
    for key, value in composed.plain.items():
        if key == "choices":
            continue
        file = composed.files.get(key, composed.files[""])
        if isinstance(value, dict):
            lines.append(f"{key}:  # {file}")
            lines += [_line(composed, name, item, f"{key}.", "  ") for name, item in value.items()]
        else:
            lines.append(_line(composed, key, value, "", ""))
    return f"# {composed.files['']}, where nothing else is said\n" + "\n".join(lines) + "\n"


def _line(composed: Composed, name: str, value: Any, prefix: str, indent: str) -> str:
    flat = OmegaConf.to_yaml(OmegaConf.create({name: value})).rstrip("\n")
    if isinstance(value, list):
        flat = f"{name}: [{', '.join(str(item) for item in value)}]"
    mark = "  # command line" if prefix + name in composed.overridden else ""
    return indent + flat + mark
