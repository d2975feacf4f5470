"""A config key that nothing reads is a promise that nothing keeps: there is none."""

import sys
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace

import pytest
import yaml

import gradcli
from gradcli.api import functions
from gradcli.config.config_files import shipped_configs
from gradcli.config.schema import (
    CheckpointConfig,
    CompareConfig,
    DataConfig,
    InspectConfig,
    MonitorConfig,
    ProtocolConfig,
    TrainConfig,
    check_limits,
)
from gradcli.workflows import compare
from gradcli.workflows.comparing import planning

SMALL = ("data=mnist5k", "max_steps=1", "model.hidden=[4]", "device=cpu")


@dataclass(frozen=True)
class TrainConfigAndMore(TrainConfig):
    """The schema with a key that nothing reads: it shows that such a one is found."""

    unread: int = 0


@dataclass(frozen=True)
class CompareConfigAndMore(CompareConfig):
    """The same for a comparison."""

    unread: int = 0


# Composing, checking and copying a config touch every field; that is not reading it.
NO_READERS = {
    *("gradcli.config.schema", "gradcli.config.values", "gradcli.config.compose"),
    *("dataclasses", "copy", __name__),
}
CHECKS = ("check_", "_check")


@contextmanager
def keys_read(*classes):
    """Collect the keys of config dataclasses that are read, as CLASS.KEY."""
    read = set()

    def reading(self, name):
        reader = sys._getframe(1)
        is_reader = reader.f_globals["__name__"] not in NO_READERS
        if is_reader and not reader.f_code.co_name.startswith(CHECKS):
            read.add(f"{type(self).__name__}.{name}")
        return object.__getattribute__(self, name)

    with pytest.MonkeyPatch.context() as patch:
        for cls in classes:
            patch.setattr(cls, "__getattribute__", reading)
        yield read


def with_more(compose, cls):
    """Compose with the class that has a key more."""

    def composed(*args, **options):
        original = compose(*args, **options)
        config = cls(**vars(original.config))
        check_limits(config)
        return replace(original, config=config)

    return composed


def keys(*classes):
    return {f"{cls.__name__}.{field.name}" for cls in classes for field in fields(cls)}


def test_every_key_of_a_training_is_read(monkeypatch, runs_dir):
    classes = (TrainConfigAndMore, DataConfig, MonitorConfig, CheckpointConfig)
    compose = with_more(functions.compose_train, TrainConfigAndMore)
    monkeypatch.setattr(functions, "compose_train", compose)
    with keys_read(*classes) as read:
        gradcli.train(*SMALL, runs_dir=runs_dir)
    assert keys(*classes) - read == {"TrainConfigAndMore.unread"}


def test_every_key_of_a_comparison_is_read(monkeypatch, runs_dir, trials_in_this_process):
    """Of three: some keys are for small data alone, others for large data, halving or a search."""
    classes = (CompareConfigAndMore, ProtocolConfig)
    compose = with_more(compare.compose_comparison, CompareConfigAndMore)
    monkeypatch.setattr(compare, "compose_comparison", compose)
    monkeypatch.setattr(planning, "compose_comparison", compose)
    with keys_read(*classes) as read:
        for words, small, searched in (
            ((), 10_000, None),
            (("protocol.halving=true",), 1_000, None),
            (("protocol.search_settings=2",), 10_000, ["lr"]),
        ):
            monkeypatch.setattr("gradcli.records.run_info.SMALL_DATA", small)
            gradcli.compare(
                *(*SMALL, *words), optimizers=["sgd"], search=searched, seeds=1, runs_dir=runs_dir
            )
    assert keys(*classes) - read == {"CompareConfigAndMore.unread"}


def names(*classes):
    return {field.name for cls in classes for field in fields(cls)}


def listed(root):
    """The keys of a root file, those that stand for a group's option included."""
    values = yaml.safe_load((shipped_configs() / f"{root}.yaml").read_text())
    groups = [group for one in values.pop("defaults") if isinstance(one, dict) for group in one]
    return {*groups, *values}


def test_the_roots_list_exactly_the_keys_of_the_schema():
    """What the other two also list of a training goes into its config, and is read there."""
    training = names(TrainConfig)
    assert listed("train") == training
    for root, schema in (("compare", CompareConfig), ("inspect", InspectConfig)):
        assert listed(root) - training == names(schema) - training


def test_a_protocol_lists_exactly_the_keys_of_the_schema():
    paths = sorted((shipped_configs() / "protocol").glob("*.yaml"))
    assert paths
    for path in paths:
        assert set(yaml.safe_load(path.read_text())) == names(ProtocolConfig)
