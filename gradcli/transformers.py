"""`GradientCallback`: the gradients of a `trainer.train()`, as a run that gradcli reads.

The names of its methods are those of Transformers. Importing this module needs the extra
`transformers`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gradcli.callbacks.closing_words import closing_words
from gradcli.callbacks.logged_scores import LoggedScores
from gradcli.callbacks.monitor_options import MonitorOptions, end
from gradcli.callbacks.update_loss import UpdateLoss
from gradcli.errors import UserError
from gradcli.extras.missing import not_installed
from gradcli.monitor import GradientMonitor
from gradcli.monitor.ranks import Watch
from gradcli.records import Direction, Recorder

try:
    from tqdm.auto import tqdm
    from transformers import Trainer, TrainerCallback
except ImportError as error:
    raise not_installed(
        "Transformers", "transformers", error, what="gradcli.transformers"
    ) from error

#: What Accelerate calls the engines that keep gradients to themselves.
_HIDING = ("DEEPSPEED", "MEGATRON_LM", "XLA")


class GradientCallback(TrainerCallback):  # type: ignore[misc]
    """Records each `trainer.train()` as a run: steps, layers, update ratios, evaluations, findings.

    ```python
    trainer = Trainer(model, args, train_dataset=data, callbacks=[GradientCallback()])
    ```

    Transformers tells a callback neither the loss nor when the gradients are there but not yet
    clipped. So this one looks up the trainer that calls it, and follows the calls of its
    `accelerator.backward` and `train`, which do what they did.

    Args:
        name: part of the directory's name.
        every: updates between two measurements of weights, updates and inputs' gradients; 0 for
            none.
        stop_on_fault: whether the training ends at the first non-finite loss or gradient.
        runs_dir: where runs are kept; None is `GRADCLI_RUNS`, or else `runs`.
        recorders: receive every record, after the run directory.
        watch: `every_step` or `every_pass`; see `gradcli.GradientMonitor`.
        metric: the name of a number that an evaluation returns, such as `eval_accuracy`, which is
            the score, and whether to `maximize` or `minimize` it. None is the trainer's
            `metric_for_best_model`, or else `("eval_loss", "minimize")`.
        tags: words to find the run by.
        note: what there is to say about it.

    Attributes:
        run: the directory of the last `train()`; None in the other processes of a distributed
            training.
    """

    def __init__(
        self,
        *,
        name: str = "transformers",
        every: int = 100,
        stop_on_fault: bool = False,
        runs_dir: str | Path | None = None,
        recorders: Sequence[Recorder] = (),
        watch: Watch = "every_step",
        metric: tuple[str, Direction] | None = None,
        tags: Sequence[str] = (),
        note: str = "",
    ) -> None:
        self.run: Path | None = None
        self._options = MonitorOptions(
            name, every, stop_on_fault, runs_dir, recorders, watch, tags, note
        )
        self._metric = metric
        self._monitor: GradientMonitor | None = None
        self._unfollow: Callable[[], None] = _nothing

    def on_init_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Follow the trainer's `train`, to know if an exception ends it."""
        self._follow_errors(_calling_trainer(), "train")

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin a run."""
        self._end(RuntimeError("the trainer began again"))
        trainer = _calling_trainer()
        _refuse_hidden_gradients(trainer)
        if "train" not in vars(trainer):
            # The callback was added later, and `train` is under way.
            self._follow_errors(trainer, "training_step")
        self._scores = LoggedScores("eval_loss", self._metric or _metric_for_best_model(args))
        self._loss, self._state = UpdateLoss(), state
        self._monitor = self._options.begin(
            trainer.model_wrapped,
            trainer.optimizer,
            scaler=trainer.accelerator.scaler,
            metric=self._scores.metric_or_loss,
            start_step=state.global_step,
        )
        self.run = self._monitor.run
        self._follow_backward(trainer.accelerator)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **_: Any
    ) -> None:
        """Record an evaluation during the training."""
        if self._monitor is not None:
            self._scores.record(self._monitor, metrics)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the run, and say where it is."""
        self._end(None)

    def _follow_backward(self, accelerator: Any) -> None:
        """Take each loss, and measure the gradients after the last backward pass of an update."""
        backward = accelerator.backward

        @functools.wraps(backward)
        def followed(loss: Any, **keywords: Any) -> None:
            backward(loss, **keywords)
            self._loss.add(loss)
            if accelerator.sync_gradients:
                self._measure()

        def unfollow() -> None:
            del accelerator.backward

        accelerator.backward, self._unfollow = followed, unfollow

    def _measure(self) -> None:
        loss = self._loss.of_update()
        if self._monitor is not None and loss is not None:
            self._monitor.step(loss, epoch=int(self._state.epoch or 0) + 1)

    def _follow_errors(self, trainer: Any, method: str) -> None:
        """Let the run end with the exception that ends a method of the trainer's."""
        followed = getattr(trainer, method)

        @functools.wraps(followed)
        def ending(*arguments: Any, **keywords: Any) -> Any:
            try:
                return followed(*arguments, **keywords)
            except BaseException as error:
                self._end(error)
                raise

        setattr(trainer, method, ending)

    def _end(self, error: BaseException | None) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor is None:
            return
        self._unfollow()
        end(monitor, error)
        if monitor.summary is not None:
            tqdm.write(closing_words(monitor.summary))


def _nothing() -> None:
    """Do nothing."""


def _calling_trainer() -> Any:
    """Return the trainer that calls a callback: Transformers does not tell it.

    Raises:
        UserError: if there is none.
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer):
            return caller
        frame = frame.f_back
    raise UserError(
        "No Trainer of Transformers calls this callback.",
        where="gradcli.transformers.GradientCallback",
        hint="Trainer(..., callbacks=[GradientCallback()])",
    )


def _metric_for_best_model(args: Any) -> tuple[str, Direction] | None:
    """Return the metric by which the trainer chooses its best checkpoint; None without one."""
    name = args.metric_for_best_model
    if name is None:
        return None
    direction: Direction = "maximize" if args.greater_is_better else "minimize"
    return (name if name.startswith("eval_") else f"eval_{name}", direction)


def _refuse_hidden_gradients(trainer: Any) -> None:
    """Refuse an engine whose backward pass and update are not PyTorch's.

    Raises:
        UserError: with what to do.
    """
    kind = trainer.accelerator.distributed_type.name
    if kind in _HIDING:
        raise UserError(
            f"Under {kind}, the gradients are not where PyTorch keeps them.",
            where="Trainer",
            hint="torchrun --nproc-per-node N train.py, which is DistributedDataParallel",
        )
