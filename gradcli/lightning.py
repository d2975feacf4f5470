"""`GradientCallback`: the gradients of a `trainer.fit`, as a run that gradcli reads.

The names of its methods are Lightning's. Importing this module needs the extra `lightning`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gradcli.callbacks.closing_words import closing_words
from gradcli.callbacks.logged_scores import LoggedScores
from gradcli.callbacks.monitor_options import MonitorOptions, end
from gradcli.callbacks.update_loss import UpdateLoss
from gradcli.errors import UserError
from gradcli.extras.missing import not_installed
from gradcli.monitor import GradientMonitor
from gradcli.monitor.ranks import Watch
from gradcli.records import Direction, Recorder

# There are two packages of Lightning, with classes of their own; the one in use is imported.
if sys.modules.get("pytorch_lightning") and not sys.modules.get("lightning.pytorch"):
    from pytorch_lightning import Callback
else:
    try:
        from lightning.pytorch import Callback
    except ImportError as error:
        try:
            from pytorch_lightning import Callback
        except ImportError:
            raise not_installed(
                "Lightning", "lightning", error, what="gradcli.lightning"
            ) from error

_log = logging.getLogger(f"{Callback.__module__}.gradcli")


class GradientCallback(Callback):  # type: ignore[misc]
    """Records each `trainer.fit` as a run: steps, layers, update ratios, evaluations, findings.

    ```python
    trainer = lightning.Trainer(max_epochs=3, callbacks=[GradientCallback()])
    ```

    The callback watches what the optimizer updates: the one child of your module that has all its
    parameters, or else the module. Of several optimizers, each has a run of its own.

    Args:
        name: part of the directory's name; with several optimizers, followed by their numbers.
        every: updates between two measurements of weights, updates and inputs' gradients; 0 for
            none.
        stop_on_fault: whether the training ends at the first non-finite loss or gradient.
        runs_dir: where runs are kept; None is `GRADCLI_RUNS`, or else `runs`.
        recorders: receive every record, after the run directory.
        watch: `every_step` or `every_pass`; see `gradcli.GradientMonitor`.
        metric: the name of a number that your module logs in validation, which is the score, and
            whether to `maximize` or `minimize` it. None is `("val_loss", "minimize")`. What is
            logged as `val_loss` is the validation loss.
        tags: words to find the run by.
        note: what there is to say about it.

    Attributes:
        runs: the directories of the last `fit`, one for each optimizer; empty in the other
            processes of a distributed training.
    """

    def __init__(
        self,
        *,
        name: str = "lightning",
        every: int = 100,
        stop_on_fault: bool = False,
        runs_dir: str | Path | None = None,
        recorders: Sequence[Recorder] = (),
        watch: Watch = "every_step",
        metric: tuple[str, Direction] | None = None,
        tags: Sequence[str] = (),
        note: str = "",
    ) -> None:
        super().__init__()
        self.runs: list[Path] = []
        self._options = MonitorOptions(
            name, every, stop_on_fault, runs_dir, recorders, watch, tags, note
        )
        self._scores = LoggedScores("val_loss", metric)
        self._loss = UpdateLoss()
        self._monitors: list[GradientMonitor] = []
        self._is_open = False
        self._updates: list[int] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin a run for each optimizer."""
        _refuse_hidden_gradients(trainer)
        optimizers = trainer.optimizers
        self._updates = _updates_before(trainer, self._updates)
        self._loss, self._monitors, self._is_open = UpdateLoss(), [], True
        try:
            for number, optimizer in enumerate(optimizers):
                monitor = self._options.begin(
                    watched_part(pl_module, optimizer),
                    optimizer,
                    scaler=_scaler(trainer),
                    metric=self._scores.metric_or_loss,
                    start_step=self._updates[number],
                    part=f"-{number + 1}" if len(optimizers) > 1 else "",
                )
                self._monitors.append(monitor)
        except BaseException as error:
            self._end(error)
            raise
        self.runs = [one.run for one in self._monitors if one.run is not None]

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Take the loss of a backward pass, without a scaler's scale."""
        scaler = _scaler(trainer)
        scale = (
            None if scaler is None else scaler.scale(loss.new_ones((), requires_grad=False).float())
        )
        self._loss.add(loss, scale)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Measure the gradients, before Lightning clips them."""
        number = trainer.optimizers.index(optimizer)
        self._updates[number] += 1
        passes = self._loss.passes
        factor = 1.0
        if pl_module.automatic_optimization:
            if not passes:  # training_step returned None
                self._monitors[number].pass_over()
                return
            # Lightning divided each loss by the passes that there were to be: at the end of an
            # epoch there may be fewer.
            factor = trainer.accumulate_grad_batches / passes
        loss = self._loss.of_update(factor)
        if loss is not None:
            self._monitors[number].step(loss, epoch=trainer.current_epoch + 1)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Record what your module has logged."""
        if self._is_open and not trainer.sanity_checking:
            for monitor in self._monitors:
                self._scores.record(monitor, trainer.callback_metrics)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End the runs."""
        self._end(None)

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Say where the runs are, once the progress bar is gone."""
        self._say()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End the runs as failed, interrupted or diverged."""
        if self._is_open:
            self._end(exception)
            self._say()

    def state_dict(self) -> dict[str, Any]:
        """Return how many updates each optimizer has made, for a checkpoint."""
        return {"updates": list(self._updates)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._updates = list(state_dict["updates"])

    def _end(self, error: BaseException | None) -> None:
        self._is_open = False
        for monitor in self._monitors:
            end(monitor, error)

    def _say(self) -> None:
        for monitor in self._monitors:
            if monitor.summary is not None:
                _log.info(closing_words(monitor.summary))


def watched_part(module: nn.Module, optimizer: Any) -> nn.Module:
    """Return the child that has all parameters of an optimizer; if none has, the module itself.

    A child that is a layer, or only a list of modules, does not count.
    """
    held = {id(one) for group in optimizer.param_groups for one in group["params"]}
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict) or next(child.children(), None) is None:
            continue
        if held <= {id(one) for one in child.parameters()}:
            return child
    return module


def _scaler(trainer: Any) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _updates_before(trainer: Any, known: list[int]) -> list[int]:
    """Return the updates that each optimizer has made: Lightning knows only their sum.

    Args:
        trainer: its checkpoint, if any, is loaded.
        known: what this callback's state says; of no use if the sum is another one.
    """
    count, total = len(trainer.optimizers), trainer.global_step
    if count == 1:
        return [total]
    return known if len(known) == count and sum(known) == total else [0] * count


def _refuse_hidden_gradients(trainer: Any) -> None:
    """Refuse a strategy whose backward pass and update are not PyTorch's.

    Raises:
        UserError: with what to do.
    """
    if trainer.strategy.handles_gradient_accumulation:
        raise UserError(
            f"{type(trainer.strategy).__name__} keeps the gradients to itself.",
            where="strategy",
            hint='Trainer(strategy="ddp")',
        )
