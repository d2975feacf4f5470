"""The keys that a resolved config lacks because they did not exist when it was written."""

from __future__ import annotations

from functools import cache
from typing import Any

from omegaconf import OmegaConf

from gradcli.config.config_files import shipped_configs
from gradcli.config.loading import as_plain


def with_defaults(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a training config with each key that it lacks as `configs/train.yaml` has it.

    A key is added to that file with the value that runs had, in effect, before it existed. So
    an older run resumes the way it began. Options of groups are left alone: an argument that they
    lack has its default in the class.
    """
    config = dict(plain)
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
    values = as_plain(OmegaConf.load(shipped_configs() / "train.yaml"))
    return {key: value for key, value in values.items() if key != "defaults"}
