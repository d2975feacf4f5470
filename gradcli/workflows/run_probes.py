"""The probes that a run runs while it trains, on copies of its model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from gradcli.config import TrainConfig, probe_steps
from gradcli.probes.measuring.untouched import random_states_kept
from gradcli.probes.registry import choose_probes
from gradcli.records import ProbeRecord
from gradcli.training import Trainer

if TYPE_CHECKING:
    from gradcli.probes.probe import ProbeTarget

#: How many training images a model is probed with: as many as `inspect-gradients` takes.
EXAMPLES = 1024


class RunProbes:
    """Runs the probes of `monitor.probes` at the steps of `monitor.probes_at`.

    Training is not affected: weights, buffers, optimizer, random states and records are those of
    a run without probes, to the bit.

    Args:
        trainer: the run's.
        config: what the trainer was built from.
        build: returns another trainer of the same config.
        made: the records of an earlier part of the run.

    Attributes:
        steps: after which a probe may be due; empty without probes.
    """

    def __init__(
        self,
        trainer: Trainer,
        config: TrainConfig,
        build: Callable[[], Trainer],
        made: Iterable[ProbeRecord],
    ) -> None:
        self._trainer, self._config = trainer, config
        self._build = build
        self._probes = choose_probes(config.monitor.probes)
        self._made = {(record.step, record.probe) for record in made}
        steps = probe_steps(
            config.monitor.probes_at,
            steps_per_epoch=trainer.splits["train"].steps_per_epoch,
            total_steps=trainer.total_steps,
        )
        self.steps = steps if self._probes else frozenset()

    def make(
        self, keep: Callable[[ProbeRecord], object], should_stop: Callable[[], bool]
    ) -> list[ProbeRecord]:
        """Run the probes that are due at the trainer's current step and have not run yet.

        Args:
            keep: is given each record as soon as its probe is done.
            should_stop: asked after each probe.
        """
        trainer = self._trainer
        due = [
            probe
            for probe in self._probes
            if trainer.step in self.steps and (trainer.step, probe.name) not in self._made
        ]
        if not due or trainer.fault:
            return []
        # A run without probes must not wait for these imports.
        from gradcli.inspection.recording import record_probes
        from gradcli.workflows.probe_target import probe_target_of

        # Taken once: it holds the random states, which probes with training steps change.
        state = trainer.state_dict()

        def copy_of_model() -> ProbeTarget:
            twin = self._build()
            # An optimizer keeps the tensors that it is given.
            twin.load_state_dict(copy.deepcopy(state))
            return probe_target_of(twin, self._config, examples=EXAMPLES)

        made = []
        with random_states_kept(trainer.model):
            for record in record_probes(due, copy_of_model):
                keep(record)
                made.append(record)
                self._made.add((record.step, record.probe))
                if should_stop():
                    break
        return made
