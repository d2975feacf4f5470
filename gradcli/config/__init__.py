"""Configuration: files, overrides and classes, checked once, here. The only user of Hydra."""

from gradcli.config.compare_config import (
    ComposedArm,
    ComposedComparison,
    add_allowed_columns,
    compose_comparison,
)
from gradcli.config.compose import Composed, changed, compose_train, load_config
from gradcli.config.data_config import data_config
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
    "data_config",
    "flat_settings",
    "flattened",
    "load_config",
    "probe_steps",
    "resolve_target",
]
