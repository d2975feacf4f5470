"""Configuration: files, overrides and classes, checked once, here. The only user of Hydra.

What is named here loads on first use, so that `config_files` and `index` come without Hydra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradcli.config.compare_config import (
        ComposedArm,
        ComposedComparison,
        add_allowed_columns,
        compose_comparison,
    )
    from gradcli.config.compose import Composed, changed, compose_train, load_config
    from gradcli.config.inspect_config import ComposedInspection, compose_inspection
    from gradcli.config.probe_schedule import add_allowed_probes, allowed_probes, probe_steps
    from gradcli.config.schema import DataConfig, Section, TrainConfig
    from gradcli.config.settings import annotated_yaml, flat_settings, flattened
    from gradcli.config.targets import resolve_target

__all__ = [
    "Composed",
    "ComposedArm",
    "ComposedComparison",
    "ComposedInspection",
    "DataConfig",
    "Section",
    "TrainConfig",
    "add_allowed_columns",
    "add_allowed_probes",
    "allowed_probes",
    "annotated_yaml",
    "changed",
    "compose_comparison",
    "compose_inspection",
    "compose_train",
    "flat_settings",
    "flattened",
    "load_config",
    "probe_steps",
    "resolve_target",
]

_HOMES = {
    "Composed": "compose",
    "ComposedArm": "compare_config",
    "ComposedComparison": "compare_config",
    "ComposedInspection": "inspect_config",
    "DataConfig": "schema",
    "Section": "schema",
    "TrainConfig": "schema",
    "add_allowed_columns": "compare_config",
    "add_allowed_probes": "probe_schedule",
    "allowed_probes": "probe_schedule",
    "annotated_yaml": "settings",
    "changed": "compose",
    "compose_comparison": "compare_config",
    "compose_inspection": "inspect_config",
    "compose_train": "compose",
    "flat_settings": "settings",
    "flattened": "settings",
    "load_config": "compose",
    "probe_steps": "probe_schedule",
    "resolve_target": "targets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gradcli.config' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"gradcli.config.{_HOMES[name]}"), name)
