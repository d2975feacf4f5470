"""`GradientMonitor`: records the user's own training loop as `gradcli train` records its own.

`LoopMonitor` measures, and `OwnRun` keeps the records. Here stands what the user calls.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

from torch import Tensor, nn

from gradcli.errors import UserError
from gradcli.monitor.loop_monitor import LoopMonitor
from gradcli.monitor.own_run import OwnRun
from gradcli.monitor.ranks import Watch, is_divided, is_first_process
from gradcli.records import Direction, Metric, Record, Recorder, TrainSummary
from gradcli.runs import given_labels


class GradientMonitor:
    """Records the gradients of your own model in your own loop, as a run that gradcli reads.

    ```python
    with GradientMonitor(model, optimizer, name="mine") as monitor:
        for inputs, labels in batches:
            loss = loss_function(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            monitor.step(loss)  # gradients as they come from the backward pass
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # if you like
            optimizer.step()  # watched by a hook: what was clipped, and the update
    ```

    Then `gradcli runs show latest`, or `gradcli.load_run(monitor.run)`. Call `step` once per
    update: with accumulation, after the last of its backward passes. The training computes the
    same as without a monitor, bit for bit. Call `zero_grad` anywhere except between `backward`
    and `step`.

    Mixed precision: `GradientMonitor(model, optimizer, scaler=scaler)`. Pass the loss before
    `scaler.scale`. Norms are recorded without the scale, whether or not you call
    `scaler.unscale_`. Updates that the scaler skips while it finds its scale are counted in
    `skipped_steps` and are not faults; gradients that stay infinite at a scale below 1 are.

    Accelerate: pass what `prepare` returned.

    ```python
    model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
    with GradientMonitor(model, optimizer, scaler=accelerator.scaler) as monitor:
        ...
        accelerator.backward(loss)
        monitor.step(loss)
        optimizer.step()
    ```

    Several processes: make it in each, and call `step` in each; the first one writes the run. Under
    DistributedDataParallel its gradients are those of the whole batch, under `fully_shard` all
    processes measure together. The loss is the one that the first process passes.
    docs/distributed.md has what is refused, and what one process cannot know.

    Lightning's and Transformers' Trainer: `gradcli.lightning.GradientCallback` and
    `gradcli.transformers.GradientCallback` do all this (docs/callbacks.md).

    Args:
        model: any module. `torch.compile` and DistributedDataParallel are unwrapped. The inputs'
            gradients of a compiled module are not measured.
        optimizer: any `torch.optim.Optimizer`, or a wrapper with one as `.optimizer`.
        name: part of the directory's name.
        scaler: the loop's `torch.amp.GradScaler`.
        every: updates between two measurements of weights, updates and inputs' gradients, which
            are closer together at the start; 0 for none.
        stop_on_fault: whether `step` raises at the first non-finite loss or gradient, before the
            update. Otherwise it is recorded, with its layer, you are warned once, and your
            training continues. On an accelerator, stopping means waiting for the device at each
            step. Of several processes, each raises that has it set.
        runs_dir: where runs are kept; None is `GRADCLI_RUNS`, or else `runs`.
        recorders: receive every record, after the run directory.
        watch: how the first non-finite value is found. `every_step` looks at the loss and the
            gradients of each step. When they are not finite, it repeats the step's forward passes
            with the random state and the inputs that they had, and finds the module and the
            operation. The model's state is restored; hooks of your own are called again. If the
            repeated pass may differ (inputs changed in place, an output that depends on the passes
            before, an accelerator), the place is said to be uncertain.
            `every_pass` looks at every value in every pass, also of the loss and of the backward
            pass, when it is made. Each operation is then checked on the host, which also waits
            for an accelerator. Measured: 2.8 times the time of a step for an MLP, 8.1 times for 20
            narrow layers, 2.2 times for a CNN.
        metric: what `evaluation` scores the model by, and whether to `maximize` or `minimize` it.
        tags: words to find the run by: `gradcli runs list --where tag=TAG`.
        note: what there is to say about it.
        start_step: the updates that were made before, if the training is a resumed one: the first
            step on record is the next.

    Attributes:
        run: the run's directory; None in the other processes of a distributed training.
        summary: what came of the run, with its findings, once it is closed; else None.

    Raises:
        UserError: if the model or the optimizer cannot be watched, or no directory can be made.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        *,
        name: str = "own",
        scaler: Any = None,
        every: int = 100,
        stop_on_fault: bool = False,
        runs_dir: str | Path | None = None,
        recorders: Sequence[Recorder] = (),
        watch: Watch = "every_step",
        metric: tuple[str, Direction] = ("accuracy", "maximize"),
        tags: Sequence[str] = (),
        note: str = "",
        start_step: int = 0,
    ) -> None:
        self.run: Path | None = None
        self.summary: TrainSummary | None = None
        self._closed = False
        self._loop: LoopMonitor | None = None
        self._own_run: OwnRun | None = None
        records = is_first_process()
        if watch not in get_args(Watch):
            raise UserError(
                f"watch is '{watch}'; it can be {' or '.join(get_args(Watch))}.",
                where="watch",
                hint='watch="every_pass"',
            )
        if not re.fullmatch(r"[\w.-]+", name):
            raise UserError(
                f"'{name}' cannot be part of a directory's name.",
                where="name",
                hint="letters, digits, dots, dashes and underscores",
            )
        self._metric = _metric(metric)
        labels = given_labels(tags, note, where="tags")
        if not (records or stop_on_fault or is_divided(model)):
            return  # this process has nothing to tell the first one
        self._loop = LoopMonitor(
            model,
            optimizer,
            emit=self._take,
            scaler=scaler,
            every=every,
            stop_on_fault=stop_on_fault,
            watch=watch,
            start_step=start_step,
        )
        if not records:
            return
        try:
            self._own_run = OwnRun(
                self._loop,
                optimizer,
                name=name,
                runs_dir=runs_dir,
                recorders=recorders,
                metric=self._metric,
                labels=labels,
            )
        except BaseException:
            self._loop.close()
            raise
        self.run = self._own_run.directory

    def step(self, loss: Tensor | float, *, epoch: int | None = None) -> None:
        """Measure the gradients: call it after `backward` and before you clip them.

        Args:
            loss: of this step, one number.
            epoch: from 1, if you want it recorded.

        Raises:
            UserError: after `close`, or if there is nothing to measure.
            FloatingPointError: with `stop_on_fault`, at a non-finite value.
        """
        self._refuse_closed("step")
        if self._loop is not None:
            self._loop.step(loss, epoch)

    def pass_over(self) -> None:
        """Allow the optimizer's next update to have no `step`: for a batch without a loss.

        It is counted and not recorded. Only the first update needs to be told: a loop that calls
        `step` too late is refused there.
        """
        if self._loop is not None:
            self._loop.pass_over()

    def evaluation(
        self,
        *,
        loss: float = math.nan,
        accuracy: float = math.nan,
        score: float = math.nan,
        split: Literal["val", "test"] = "val",
    ) -> None:
        """Record how good the model is on a split, as you have measured it.

        Args:
            loss: the mean over the split.
            accuracy: the score, if the metric is the accuracy.
            score: by the metric.
            split: the validation or the test examples.

        Raises:
            UserError: after `close`, or for an accuracy if the metric is another one.
        """
        if not math.isnan(accuracy):
            if not self._metric.is_accuracy:
                raise UserError(
                    f"The metric of this loop is {self._metric.name}, not the accuracy.",
                    where="evaluation",
                    hint="evaluation(score=...)",
                )
            score = accuracy
        self._refuse_closed("evaluation")
        if self._own_run is not None:
            self._own_run.evaluation(split, loss=float(loss), score=float(score))

    def close(self) -> None:
        """End the run, as finished or diverged, and remove all hooks; safe to call again."""
        self._end(None)

    def __enter__(self) -> GradientMonitor:
        self._refuse_closed("with")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(error)

    def _take(self, record: Record) -> None:
        if self._own_run is not None:
            self._own_run.take(record)

    def _end(self, error: BaseException | None) -> None:
        if self._closed:
            return
        self._closed = True
        if self._own_run is not None:
            self.summary = self._own_run.end(error)
        elif self._loop is not None:
            self._loop.close()

    def _refuse_closed(self, what: str) -> None:
        if self._closed:
            raise UserError(
                "The monitor is closed; its run has ended.",
                where=f"monitor.{what}",
                hint="GradientMonitor(model, optimizer) begins a new run",
            )


def _metric(given: tuple[str, Direction]) -> Metric:
    """Return the metric that a loop names.

    Raises:
        UserError: if it is no name with a direction.
    """
    match given:
        case (str(name), "maximize" | "minimize" as direction) if name:
            return Metric(name, direction)
    raise UserError(
        f"metric is {given!r}; it is a name and a direction.",
        where="metric",
        hint='metric=("perplexity", "minimize")',
    )
