"""Configuration: files, overrides and classes, checked once, here. The only user of Hydra."""

from gradcli.config.compose import Composed, compose_train, load_config
from gradcli.config.schema import Section, TrainConfig
from gradcli.config.show import annotated_yaml

__all__ = ["Composed", "Section", "TrainConfig", "annotated_yaml", "compose_train", "load_config"]
