"""The training loop: yields records and keeps the state that a checkpoint needs.

It knows neither screens nor files. A caller that iterates over `Trainer.run` may call `stop()` at
any time. It may call `state_dict()` when it receives `StepRecords` or an `EvalRecord`: everything
up to that state has then been yielded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gradcli.data import Batch, BatchSource
from gradcli.fast.without_dynamo import state_dict
from gradcli.gradients.buffer import StepBuffer, select_rows
from gradcli.gradients.clipping import Clip
from gradcli.gradients.layers import find_layers
from gradcli.gradients.norms import Gradients, Norms
from gradcli.gradients.observation import Observation
from gradcli.objectives import Objective
from gradcli.optim import LearningRate, evaluated_state, evaluation_weights, load_optimizer_state
from gradcli.records import PHASES, EvalRecord, FaultRecord, Record, StepRecords, packed_scores
from gradcli.tracing.after_update import non_finite_values, place_after_update, place_left_behind
from gradcli.tracing.non_finite import locate_fault, may_be_random
from gradcli.training.clock import PhaseClock
from gradcli.training.evaluation import (
    Evaluation,
    EvaluationStopped,
    evaluate,
    locate_in_evaluation,
)
from gradcli.training.step import StepResult, TrainingStep
from gradcli.training.training_plan import TrainingPlan, total_steps

# How long records may stay on the device. On the CPU a flush is cheap and the screen wants news; on
# an accelerator each flush waits for the device.
_SECONDS_BETWEEN_FLUSHES = {"cpu": 0.25}
_SECONDS_BETWEEN_FLUSHES_ELSEWHERE = 1.0


class Trainer:
    """Trains a model and yields what happens as records.

    Args:
        model: on its device, initialised.
        objective: what is minimised, and what the model is scored by.
        splits: the batches of `train` (of the training batch size), `val` and `test`.
        optimizer: of the model's parameters.
        learning_rate: sets the optimizer's learning rate before each update.
        clip: the clipping rule.
        plan: how long to train and what to measure.

    Attributes:
        step: the updates made so far.
        epochs_done: the epochs completed and evaluated.
        finished: whether training and the last evaluation are done.
        fault: the first non-finite value, or None.
        fault_batch: the training batch that showed it, or None.
        phase_seconds: the seconds that all steps spent in each phase, up to the last flush.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        splits: Mapping[str, BatchSource],
        optimizer: torch.optim.Optimizer,
        learning_rate: LearningRate,
        clip: Clip,
        plan: TrainingPlan,
    ) -> None:
        self.model, self.optimizer, self.clip, self.plan = model, optimizer, clip, plan
        self.objective, self.splits, self.learning_rate = objective, splits, learning_rate
        self.layers = find_layers(model)
        self.device = splits["train"].device
        self.total_steps = total_steps(splits["train"].steps_per_epoch, plan.epochs, plan.max_steps)

        self.step = 0
        self.epochs_done = 0
        self.finished = False
        self.fault: FaultRecord | None = None
        self.fault_batch: Batch | None = None
        self.seconds_before = 0.0
        self._began = perf_counter()
        self.phase_seconds = dict.fromkeys(PHASES, 0.0)
        self._batches_done = 0
        self._loss_sum = 0.0
        self._examples = 0
        self._batch_sizes: list[int] = []
        self._stop_requested = False

        self._trained = {name for name, one in model.named_parameters() if one.requires_grad}
        # A mask of -inf, for instance, is not what training has made.
        self._never_finite = {place.tensor for place in non_finite_values(model, optimizer)}
        self._is_random = may_be_random(model) and self.device.type == "cpu"
        self._random_state: Tensor | None = None

        gradients = Gradients(model, self.layers)
        self.clock = PhaseClock(self.device)
        self._buffer = StepBuffer(self.device)
        self._observation = Observation(model, self.layers, optimizer, every=plan.probe_every)
        self._training_step = TrainingStep(
            model, objective, optimizer, gradients, clip, self.clock, plan.passes
        )

    def stop(self) -> None:
        """Ask `run` to end at the next step or evaluation batch."""
        self._stop_requested = True

    def run(self, until: int | None = None, flush_at: Container[int] = ()) -> Iterator[Record]:
        """Train to the end, or until a fault or `stop()`, and yield the records.

        Args:
            until: pause after this step, as `stop()` would. The plan and the schedule remain
                those of the whole run.
            flush_at: steps after which the records are yielded immediately, so that the caller sees
                the model right after that step.
        """
        self._flush_at = flush_at
        self._pause_at = self.total_steps if until is None else until
        self._began = perf_counter()
        self.model.train()
        try:
            while self.step < self.total_steps or self._batches_done:
                yield from self._rest_of_epoch()
                if self._stop_requested or self.fault:
                    return
                # Advance the state before yielding the record: a run resumed from a checkpoint
                # taken then must not repeat the evaluation.
                evaluation = self._evaluate("val") if self.splits["val"].size else None
                if self._batches_done == self.splits["train"].steps_per_epoch:
                    self.epochs_done += 1
                self._batches_done = 0
                if evaluation is not None:
                    yield evaluation
                if self.fault:
                    return
            if not self.finished:
                evaluation = self._evaluate("test")
                self.finished = self.fault is None
                yield evaluation
        except EvaluationStopped:
            return

    @property
    def seconds_total(self) -> float:
        """Seconds in `run`, including those before the run was resumed."""
        return self.seconds_before + perf_counter() - self._began

    def _rest_of_epoch(self) -> Iterator[Record]:
        """Make the remaining steps of the current epoch, or of the run."""
        train, epoch = self.splits["train"], self.epochs_done + 1
        flush_every = _SECONDS_BETWEEN_FLUSHES.get(
            self.device.type, _SECONDS_BETWEEN_FLUSHES_ELSEWHERE
        )
        last_flush = -math.inf
        end = min(self.total_steps, self.step + train.steps_per_epoch - self._batches_done)
        with closing(train.epoch(self.plan.seed, epoch, self._batches_done)) as batches:
            while self.step < end and not self._stop_requested:
                if self.step >= self._pause_at:
                    self.stop()
                    break
                yield from self._step(epoch, batches)
                # The first step is yielded immediately, because its time is reported on its own.
                if (
                    self._buffer.full
                    or self.fault
                    or self.step in self._flush_at
                    or perf_counter() - last_flush > flush_every
                ):
                    yield from self._flush()
                    last_flush = perf_counter()
                if self.fault:
                    yield self.fault
                    return
        if len(self._buffer):
            yield from self._flush()
        if self.fault is None and self._batches_done:
            self.fault = self._fault_left_behind(epoch)
        if self.fault:
            yield self.fault

    def _step(self, epoch: int, batches: Iterator[Batch]) -> Sequence[Record]:
        """Make a step on the next batch and note its measurements; return what was observed."""
        number = self.step + 1
        observation = self._observation.at(number)
        self.clock.start(probed=observation is not None)
        batch = next(batches)
        self.learning_rate.set(self.step)
        if self._is_random:
            self._random_state = torch.get_rng_state()
        self.clock.lap("data")
        result = self._training_step(batch.inputs, batch.targets, observation)
        self._note(number, epoch, batch, result)
        observed: Sequence[Record] = ()
        if observation and result.updated:
            observed = observation.records(number, self._training_step.differentiate.scale)
        self.clock.lap("monitor")
        self.clock.stop()
        return observed

    def _note(self, number: int, epoch: int, batch: Batch, result: StepResult) -> None:
        self._buffer.append(
            number,
            epoch,
            self.learning_rate.current,
            result.loss,
            result.norms_before,
            result.norms_after,
        )
        if not result.updated:
            loss, norms = float(result.loss), result.norms_before
            self.fault = self._locate(number, epoch, batch, loss, norms)
            return
        self.step = number
        self._batches_done += 1
        self._batch_sizes.append(len(batch.targets))

    def _flush(self) -> Iterator[StepRecords]:
        """Bring the buffered steps to the host: the only transfer from an accelerator."""
        self.clock.start(probed=False)
        phases = self.clock.take()
        for phase, seconds in phases.items():
            self.phase_seconds[phase] += seconds
        records = self._buffer.flush(phases)
        if self._training_step.deferred:
            records = self._cut_at_fault(records)
        made = len(records) - (self.fault is not None)
        # One by one, so that the sum's rounding does not depend on where blocks end.
        for loss, size in zip(records.loss[:made].tolist(), self._batch_sizes[:made], strict=True):
            self._loss_sum += loss * size
            self._examples += size
        self._batch_sizes = []
        self.clock.stop()
        every = self.plan.record_every
        keep = records.step % every == (1 % every) if every else np.zeros(len(records), dtype=bool)
        yield select_rows(records, keep | ~np.isfinite(records.grad_norm_before_clip))

    def _cut_at_fault(self, records: StepRecords) -> StepRecords:
        """Cut the records after the first non-finite row, whose update the device prevented."""
        finite = np.isfinite(records.loss) & np.isfinite(records.grad_norm_before_clip)
        if finite.all():
            return records
        row = int(np.argmin(finite))
        undone = len(records) - row
        self.step -= undone
        self._batches_done -= undone
        number, epoch, loss = self.step + 1, self.epochs_done + 1, float(records.loss[row])
        batch = self.splits["train"].again(self.plan.seed, epoch, self._batches_done)
        norms = records.parameter_grad_norm_before_clip[row].tolist()
        self.fault = self._locate(number, epoch, batch, loss, norms)
        return select_rows(records, np.arange(len(records)) <= row)

    def _locate(
        self, step: int, epoch: int, batch: Batch, loss: float, norms: Norms
    ) -> FaultRecord:
        place = locate_fault(
            self.model,
            batch.inputs,
            batch.targets,
            norms,
            loss=self.objective.loss,
            random_state=self._random_state,
            autocast=self.plan.passes.autocast,
            micro_batch_size=self.plan.passes.micro_batch_size,
        )
        if place.phase == "parameters" and self.step and place.tensor in self._trained:
            step -= 1
            place = place_after_update(place, self.optimizer, self.model)
        self.fault_batch = batch
        return place.record(step, epoch, loss, tuple(batch.examples.tolist()))

    def _fault_left_behind(self, epoch: int) -> FaultRecord | None:
        """Look for what the last update left non-finite: no step may follow that shows it."""
        place = place_left_behind(self.model, self.optimizer, self._never_finite)
        if place is None:
            return None
        batch = self.splits["train"].again(self.plan.seed, epoch, self._batches_done - 1)
        self.fault_batch = batch
        return place.record(self.step, epoch, math.nan, tuple(batch.examples.tolist()))

    def is_finite(self) -> bool:
        """Whether all that was finite at the start is finite now. Waits for the device."""
        return place_left_behind(self.model, self.optimizer, self._never_finite) is None

    def evaluate(
        self, split: Literal["val", "test"], should_stop: Callable[[], bool] = lambda: False
    ) -> Evaluation:
        """Evaluate on a split, with the weights that the optimizer wants evaluated.

        It leaves no trace: a run that is evaluated more often is the same run.

        Raises:
            EvaluationStopped: `should_stop` returned True.
        """
        with evaluation_weights(self.optimizer):
            return evaluate(self.model, self.objective, self.splits[split], should_stop)

    def _evaluate(self, split: Literal["val", "test"]) -> EvalRecord | FaultRecord:
        """Evaluate on a split; what is not finite is no score but a fault."""
        found = self.evaluate(split, lambda: self._stop_requested)
        epoch = self.epochs_done + 1 if self._batches_done else self.epochs_done
        if not math.isfinite(found.loss):
            with evaluation_weights(self.optimizer):
                place = locate_in_evaluation(self.model, self.objective, self.splits[split])
            self.fault = replace(place.record(self.step, epoch, found.loss), split=split)
            return self.fault
        train_loss = self._loss_sum / self._examples if self._examples else math.nan
        if split == "val" or not self.splits["val"].size:
            self._loss_sum = 0.0
            self._examples = 0
        each = found.example_scores if split == "test" else None
        if each is not None and len(each) != self.splits[split].size:
            each = None  # a stream had fewer than it announced, and the scores are read by that
        return EvalRecord(
            step=self.step,
            epoch=epoch,
            split=split,
            loss=found.loss,
            score=found.score,
            train_loss=train_loss,
            seconds=self.seconds_total,
            seconds_train=self.clock.seconds_train,
            example_scores="" if each is None else packed_scores(each.cpu().numpy()),
            further_scores=found.further,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the rest of the run depends on, as tensors and plain values.

        `model` has the weights to train. If the optimizer has others to evaluate, these are a copy
        under `evaluated_model`, on which nothing depends.
        """
        evaluated = evaluated_state(self.model, self.optimizer)
        random_states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random_states["cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            "model": self.model.state_dict(),
            **({} if evaluated is None else {"evaluated_model": evaluated}),
            "optimizer": state_dict(self.optimizer),
            "learning_rate": self.learning_rate.state_dict(),
            "clip": self.clip.state_dict(),
            "loss_scale": self._training_step.differentiate.state_dict(),
            "observation": self._observation.state_dict(),
            "random": random_states,
            "position": {
                "step": self.step,
                "epochs_done": self.epochs_done,
                "batches_done": self._batches_done,
                "examples": self._examples,
                "loss_sum": self._loss_sum,
                "finished": self.finished,
            },
            "seconds": {"total": self.seconds_total, "train": self.clock.seconds_train},
            "phase_seconds": dict(self.phase_seconds),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned, including random generators.

        Without `optimizer`, the weights can be looked at, but no further step would be the next.
        """
        self.model.load_state_dict(state["model"])
        if "optimizer" in state:
            load_optimizer_state(self.optimizer, state["optimizer"])
        self.learning_rate.load_state_dict(state["learning_rate"])
        self.clip.load_state_dict(state["clip"])
        if "loss_scale" in state:  # this and the next are not in checkpoints of earlier versions
            self._training_step.differentiate.load_state_dict(state["loss_scale"])
        if "observation" in state:
            self._observation.load_state_dict(state["observation"])
        torch.set_rng_state(state["random"]["cpu"])
        if "cuda" in state["random"] and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random"]["cuda"], self.device)
        position = state["position"]
        self.step = position["step"]
        self.epochs_done = position["epochs_done"]
        self._batches_done = position["batches_done"]
        self._examples = position["examples"]
        self._loss_sum = position["loss_sum"]
        self.finished = position["finished"] and self.step >= self.total_steps
        self.seconds_before = state["seconds"]["total"]
        self.clock.seconds_train = state["seconds"]["train"]
        self.phase_seconds = dict(state["phase_seconds"])
