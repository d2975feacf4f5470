"""`GradientMonitor`: records the user's own training loop as `gradcli train` records its own.

`LoopMonitor` measures; here the records go to a run directory and to the user's recorders.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from gradcli.errors import UserError
from gradcli.gradients.layers import class_name
from gradcli.inspection.run_summary import summarise_run
from gradcli.monitor.loop_monitor import LoopMonitor
from gradcli.monitor.ranks import Watch, is_divided, is_first_process, process_count
from gradcli.notation.faults import fault_message
from gradcli.records import (
    DataInfo,
    Direction,
    EvalRecord,
    FaultRecord,
    LayerRecord,
    Metric,
    Recorder,
    RunInfo,
    SetupRecord,
    Status,
    StepRecords,
)
from gradcli.runs import RunWriter, create_run_directory, load_run
from gradcli.runs.provenance import provenance
from gradcli.runs.recorders import Recorders, RunDirectoryRecorder

_CONFIG = """\
# A model and a training loop of the user's own, watched by gradcli.GradientMonitor.
# gradcli can show this run, but not repeat or resume it.
"""


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

    Lightning: in a callback. The loop's own clipping comes after it and is seen, too.

    ```python
    class Gradients(lightning.Callback):
        def on_train_start(self, trainer, module):
            self.monitor = GradientMonitor(module, trainer.optimizers[0])

        def on_before_optimizer_step(self, trainer, module, optimizer):
            # if training_step keeps its loss as self.last_loss
            self.monitor.step(module.last_loss, epoch=trainer.current_epoch + 1)

        def on_train_end(self, trainer, module):
            self.monitor.close()
    ```

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

    Attributes:
        run: the run's directory; None in the other processes of a distributed training.

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
    ) -> None:
        self.run: Path | None = None
        self._closed = False
        self._loop: LoopMonitor | None = None
        self._records = is_first_process()
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
        if not (self._records or stop_on_fault or is_divided(model)):
            return  # this process has nothing to tell the first one
        self._loop = LoopMonitor(
            model,
            optimizer,
            emit=self._take,
            scaler=scaler,
            every=every,
            stop_on_fault=stop_on_fault,
            watch=watch,
        )
        if not self._records:
            return
        self._began = time.monotonic()
        self._loss_sum, self._losses = 0.0, 0
        try:
            self._begin(name, optimizer, runs_dir, recorders)
        except BaseException:
            self._loop.close()
            raise

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
        if self._loop is None or not self._records:
            return
        self._loop.flush()
        record = EvalRecord(
            step=self._loop.updates,
            epoch=self._loop.epoch,
            split=split,
            loss=float(loss),
            score=float(score),
            train_loss=self._loss_sum / self._losses if self._losses else math.nan,
            seconds=self._seconds,
            seconds_train=math.nan,
        )
        if split == "val":
            self._loss_sum, self._losses = 0.0, 0
        self._recorders.record(record)
        self._note_progress()
        self._writer.set_status("running")

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

    def _begin(
        self,
        name: str,
        optimizer: Any,
        runs_dir: str | Path | None,
        recorders: Sequence[Recorder],
    ) -> None:
        assert self._loop is not None
        loop = self._loop
        folder = Path(os.environ.get("GRADCLI_RUNS", "runs") if runs_dir is None else runs_dir)
        group = optimizer.param_groups[0]
        parameters = list(loop.model.parameters())
        model_name = class_name(loop.model)
        numbers = {key: value for key, value in group.items() if isinstance(value, int | float)}
        settings = {"model": model_name, "optimizer": loop.optimizer_name, **numbers}
        self.run = create_run_directory(folder, name)
        config = _CONFIG + json.dumps(settings, indent=2) + "\n"
        self._writer = RunWriter(self.run, config, provenance())
        if process_count() > 1:
            self._writer.note(processes=process_count())
        self._recorders = Recorders(RunDirectoryRecorder(self._writer, {}), recorders)
        info = RunInfo(
            run=self.run.name,
            name=name,
            data=DataInfo("own", 0, 0, 0, "", (0, 0, 0), 0),
            model=model_name,
            model_size=sum(p.numel() for p in parameters if p.requires_grad),
            optimizer=loop.optimizer_name,
            learning_rate=float(group.get("lr", math.nan)),
            schedule="",
            clip="",
            activation="",
            device=parameters[0].device.type,
            threads=torch.get_num_threads(),
            batch_size=0,
            epochs=0,
            total_steps=0,
            start_step=0,
            layers=loop.layers,
            metric=self._metric,
            loss="",
        )
        self._recorders.begin(info, settings)

    def _take(self, record: StepRecords | LayerRecord | SetupRecord | FaultRecord) -> None:
        if not self._records:
            return
        self._recorders.record(record)
        if isinstance(record, StepRecords):
            self._loss_sum += float(record.loss.sum())
            self._losses += len(record)
        if isinstance(record, FaultRecord):
            warnings.warn(fault_message(record), RuntimeWarning, stacklevel=2)

    def _end(self, error: BaseException | None) -> None:
        if self._closed:
            return
        self._closed = True
        if self._loop is None:
            return
        if not self._records:
            self._loop.close()
            return
        try:
            self._loop.close()
            self._warn_without_update(error)
            self._note_progress(whole=error is None)
            self._writer.note(**_described(error))
            summary = summarise_run(
                load_run(self._writer.directory), status=_status(self._loop, error)
            )
            self._recorders.store(summary)
            self._recorders.finish(summary)
        except OSError:
            if error is None:  # otherwise a full disk, say, would hide what went wrong
                raise
        finally:
            self._recorders.close()

    def _warn_without_update(self, error: BaseException | None) -> None:
        """Warn if the optimizer never made an update, so that nothing was learned or recorded."""
        assert self._loop is not None
        loop = self._loop
        if error is None and loop.fault is None and not loop.updates and loop.without_update > 1:
            warnings.warn(
                f"monitor.step(loss) was called {loop.without_update} times, but optimizer.step() "
                f"of this {loop.optimizer_name} never: no weight moved, and no step is on record.",
                RuntimeWarning,
                stacklevel=3,
            )

    def _note_progress(self, *, whole: bool = False) -> None:
        """Note how far the training is; its last epoch counts if it is `whole`."""
        assert self._loop is not None
        epoch = self._loop.epoch
        self._writer.note(
            progress={"steps": self._loop.updates, "epochs": epoch if whole else max(0, epoch - 1)},
            skipped_steps=self._loop.skipped,
            calls={
                "since_update": self._loop.since_update,
                "most_before_update": self._loop.most_before_update,
            },
            seconds_total=self._seconds,
        )

    def _refuse_closed(self, what: str) -> None:
        if self._closed:
            raise UserError(
                "The monitor is closed; its run has ended.",
                where=f"monitor.{what}",
                hint="GradientMonitor(model, optimizer) begins a new run",
            )

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began


def _status(loop: LoopMonitor, error: BaseException | None) -> Status:
    """Say how a run ended; it has not diverged if it recovered from a fault."""
    if error is not None and not isinstance(error, FloatingPointError):
        return "failed" if isinstance(error, Exception) else "interrupted"
    if loop.fault is not None and not loop.last_is_finite:
        return "diverged"
    return "finished" if error is None else "failed"


def _described(error: BaseException | None) -> dict[str, str]:
    return {} if error is None else {"error": repr(error)}


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
