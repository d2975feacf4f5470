"""A config key that nothing reads is a promise that nothing keeps: there is none."""

import sys
from dataclasses import dataclass, fields, replace

from gradcli import experiment
from gradcli.config.schema import (
    CheckpointConfig,
    DataConfig,
    MonitorConfig,
    TrainConfig,
    check_limits,
)
from gradcli.views.train_view import QuietView


@dataclass(frozen=True)
class TrainConfigAndMore(TrainConfig):
    """The schema with a key that nothing reads: it shows that such a one is found."""

    unread: int = 0


CLASSES = (TrainConfigAndMore, DataConfig, MonitorConfig, CheckpointConfig)
# Checking and copying a config touch every field; that is not reading it.
NO_READERS = ("gradcli.config", "dataclasses")


def test_every_key_is_read(monkeypatch, runs_dir):
    compose_train = experiment.compose_train
    keys = {f"{cls.__name__}.{field.name}" for cls in CLASSES for field in fields(cls)}
    read = set()

    def compose_with_more(*args, **options):
        composed = compose_train(*args, **options)
        config = TrainConfigAndMore(**vars(composed.config))
        check_limits(config)
        return replace(composed, config=config)

    def reading(self, name):
        reader = sys._getframe(1).f_globals["__name__"]
        if not reader.startswith(NO_READERS):
            read.add(f"{type(self).__name__}.{name}")
        return object.__getattribute__(self, name)

    monkeypatch.setattr(experiment, "compose_train", compose_with_more)
    for cls in CLASSES:
        monkeypatch.setattr(cls, "__getattribute__", reading)
    experiment.start_run(
        ["data=mnist5k", "max_steps=1", "device=cpu"],
        experiment.Places(runs_dir),
        QuietView(),
        started=0.0,
    )
    assert keys - read == {"TrainConfigAndMore.unread"}
