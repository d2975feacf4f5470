"""A learning rate for a training, found in rehearsals of it.

`comparison.best_rate` says which rehearsals are needed and what their losses say. They are trained
here, with the trainer of every run: its model, optimizer, clipping and batches. Nothing is written.
"""

from __future__ import annotations

import hashlib
import math
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gradcli.comparison.best_rate import (
    FoundRate,
    Losses,
    ProposedRate,
    RateSearch,
    Rehearsal,
    affordable_steps,
    judged,
    next_rehearsals,
)
from gradcli.comparison.protocol import with_rate
from gradcli.config import Composed, load_config
from gradcli.config.parameter_groups import with_explicit_rates
from gradcli.config.targets import configured_rate, keywords
from gradcli.data import Dataset, Split
from gradcli.errors import UserError
from gradcli.optim import evaluates_loss, longer_at_first
from gradcli.records import RunInfo, StepRecords
from gradcli.system.paths import Paths, returning_to
from gradcli.training import Trainer, multiplications
from gradcli.views.find_lr.search_progress import SearchProgress
from gradcli.views.train.train_view import TrainView
from gradcli.workflows.building import (
    built_trainer,
    describe_run,
    failures_in_words,
    obtain_data,
)
from gradcli.workflows.preflight import remarks_before_training

#: The validation examples that judge rehearsals, the same for all of them: the more, the longer the
#: rehearsals are, since then their losses differ by less. So many for each step...
_EXAMPLES_PER_STEP = 4
#: ...within these bounds.
_FEWEST_EXAMPLES, _MOST_EXAMPLES = 256, 512
#: Without any in memory, the training loss does: its mean over this share of the steps, the last.
_LAST_SHARE = 0.25
DEFAULT_SEEDS = 4
#: If every rate diverges, the next search begins this much lower.
_MUCH_LOWER = 1e4


def find_learning_rate(
    composed: Composed,
    arguments: Sequence[str],
    paths: Paths,
    view: TrainView,
    progress: SearchProgress,
    *,
    seeds: int = DEFAULT_SEEDS,
    steps: int | None = None,
) -> FoundRate:
    """Propose a learning rate for the training that a config describes.

    Args:
        composed: the config.
        arguments: the overrides that it was composed from, for the next command.
        paths: where data and configs are.
        view: shows a download, and what to know before a training.
        progress: shows the rehearsals.
        seeds: how many seeds rehearse, from that of the config on.
        steps: of a rehearsal; None lets `affordable_steps` decide.

    Raises:
        UserError: if the optimizer has no rate to search, or the config cannot be trained.
    """
    began = time.monotonic()
    rate = _rate_of(composed)
    with returning_to(paths.started_in):
        data_dir = None if paths.data_dir is None else paths.absolute(paths.data_dir)
        dataset = obtain_data(composed.config.data, data_dir, view.download)
        composed = composed.with_data(dataset.info.name)
        for remark in remarks_before_training(composed, dataset):
            view.note(remark)
        info, search = _planned(composed, dataset, rate, seeds, steps)
        stage = _Stage(composed, _thinned(dataset, search.steps), paths.allow_import)
        losses = _rehearsed(search, stage, progress)
        proposed = judged(search, losses)
        overrides = _overrides(composed, proposed) if proposed.is_found else ()
        return FoundRate(
            info=info,
            search=search,
            proposed=proposed,
            overrides=overrides,
            commands=_next_commands(search, proposed, overrides, arguments, paths),
            seconds=time.monotonic() - began,
            rehearsals=len(losses),
            judged_by=stage.judged_by,
        )


def _planned(
    composed: Composed, dataset: Dataset, rate: float, seeds: int, steps: int | None
) -> tuple[RunInfo, RateSearch]:
    """Return the header of the whole training, and the search for its rate.

    Raises:
        UserError: if a rehearsal were to have more steps than the training.
    """
    config = composed.config
    with built_trainer(composed, dataset) as trainer, failures_in_words(trainer):
        info = describe_run(composed, dataset, trainer, "")
        if steps is None:
            inputs, _ = trainer.splits["train"].first(config.seed, config.batch_size)
            work = info.accumulate * multiplications(trainer.model, inputs)
            steps = affordable_steps(work, info.total_steps)
        if steps > info.total_steps:
            raise UserError(
                f"The training has {info.total_steps:,} steps, and a rehearsal cannot have more.",
                where="--steps",
                hint=f"--steps {info.total_steps}",
            )
        search = RateSearch(
            centre=rate,
            seeds=tuple(range(config.seed, config.seed + seeds)),
            steps=steps,
            total_steps=info.total_steps,
        )
        # L-BFGS looks at the loss to choose its steps, and so has no updates without one.
        if steps < info.total_steps and not evaluates_loss(type(trainer.optimizer)):
            ratio = longer_at_first(trainer.optimizer, steps, info.total_steps)
            search = replace(search, longer_at_first=ratio)
        return info, search


def _rehearsed(search: RateSearch, stage: _Stage, progress: SearchProgress) -> Losses:
    """Make all rehearsals of a search, and return their losses."""
    losses: dict[Rehearsal, float] = {}
    while wanted := next_rehearsals(search, losses):
        for rehearsal in wanted:
            rate = search.rate(rehearsal.exponent)
            losses[rehearsal] = stage.loss_after(rehearsal, rate)
            progress.rehearsed(search, rate, rehearsal, losses[rehearsal])
    return losses


def _rate_of(composed: Composed) -> float:
    """Return the learning rate of the config.

    Raises:
        UserError: if the optimizer has none, or finds its own.
    """
    section, target = composed.config.optimizer, composed.classes["optimizer"]
    name, where = section.option, f"optimizer.lr in {composed.files['optimizer']}"
    if "d0" in keywords(target, "optimizer"):
        raise UserError(
            f"{name} estimates its step size while it trains, and its lr is a factor that its "
            "authors leave at 1: there is no learning rate to find.",
            where=where,
            hint=f"gradcli train optimizer={name}",
        )
    rate = configured_rate(target, section.arguments)
    if not rate:
        raise UserError(
            f"{name} has no learning rate above 0 to search around.",
            where=where,
            hint="optimizer.lr=0.001, if it takes one",
        )
    return rate


def _thinned(dataset: Dataset, steps: int) -> Dataset:
    """Return the data with the validation examples that judge rehearsals, spread evenly over all.

    Args:
        dataset: a stream of validation examples stays as it is.
        steps: of a rehearsal.
    """
    val = dataset.val
    count = min(max(_EXAMPLES_PER_STEP * steps, _FEWEST_EXAMPLES), _MOST_EXAMPLES)
    if not isinstance(val, Split) or len(val) <= count:
        return dataset
    chosen = torch.linspace(0, len(val) - 1, count).round().long()
    return replace(dataset, val=Split(val.inputs[chosen], val.targets[chosen]))


def _sets_rate(word: str) -> bool:
    """Whether an override sets a learning rate, of the optimizer or of one of its groups."""
    key = word.lstrip("+").partition("=")[0]
    return key.partition(".")[0] == "optimizer" and key.rpartition(".")[2] == "lr"


def _overrides(composed: Composed, proposed: ProposedRate) -> tuple[str, ...]:
    """Return the overrides that set the proposed rate, and those of groups in proportion."""
    groups = with_rate(_optimizer(composed), proposed.rate).get("groups") or {}
    return (
        f"optimizer.lr={proposed.rate:g}",
        *(
            f"optimizer.groups.{name}.lr={group['lr']!r}"
            for name, group in groups.items()
            if group and "lr" in group
        ),
    )


def _optimizer(composed: Composed) -> dict[str, object]:
    """Return the optimizer's part of a config, with the rates that its classes have by default."""
    section, plain = composed.config.optimizer, composed.plain["optimizer"]
    explicit = with_explicit_rates(section, composed.classes, plain)
    return {"lr": configured_rate(composed.classes["optimizer"], section.arguments), **explicit}


def _next_commands(
    search: RateSearch,
    proposed: ProposedRate,
    overrides: Sequence[str],
    arguments: Sequence[str],
    paths: Paths,
) -> tuple[str, ...]:
    """Return the command that trains with the proposal, or one that may find out more."""
    kept = [word for word in arguments if not _sets_rate(word)]
    rates = [one.rate for one in (*proposed.scouted, *proposed.rehearsed)]
    match proposed.reason:
        case "":
            words = ["train", *overrides]
        case "diverged":
            words = ["find-lr", f"optimizer.lr={min(rates) / _MUCH_LOWER:g}"]
        case "at-the-end":
            best = min(proposed.rehearsed, key=lambda one: one.mean)
            words = ["find-lr", f"optimizer.lr={best.rate:g}"]
        case "seeds-disagree":
            words = ["find-lr", "--seeds", str(2 * len(search.seeds))]
        case _:
            kept, words = [*arguments], ["inspect-gradients"]
    command, *own = words
    return (shlex.join(["gradcli", command, *paths.arguments(beside=kept), *kept, *own]),)


def picture_folder(found: FoundRate, paths: Paths) -> Path:
    """Return the folder for the picture of a search, next to the runs; create it if needed.

    There is one for each command, so that none replaces another's.
    """
    digest = hashlib.blake2b(found.commands[0].encode(), digest_size=3).hexdigest()
    info = found.info
    folder = paths.runs_dir / "plots" / f"find-lr-{info.model}-{info.optimizer}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class _Stage:
    """Where a training is rehearsed.

    Args:
        composed: its config.
        dataset: its data, with as many validation examples as judge a rehearsal.
        allow_import: packages that the config may name.
    """

    def __init__(self, composed: Composed, dataset: Dataset, allow_import: Sequence[str]) -> None:
        self._composed, self._dataset = composed, dataset
        self._allow_import = allow_import
        self._at_rate: dict[float, Composed] = {}
        self._has_val = isinstance(dataset.val, Split) and len(dataset.val) > 0

    @property
    def judged_by(self) -> str:
        """The loss that is compared, in words."""
        if isinstance(self._dataset.val, Split) and self._has_val:
            return f"loss on {len(self._dataset.val):,} validation examples"
        return f"training loss over the last {_LAST_SHARE:.0%} of the steps"

    def loss_after(self, rehearsal: Rehearsal, rate: float) -> float:
        """Make a rehearsal, and return its loss; infinite if it diverges.

        Raises:
            UserError: if the config cannot be trained, or the user's own code fails.
        """
        composed = self._with(rehearsal, rate)
        with built_trainer(composed, self._dataset) as trainer, failures_in_words(trainer):
            torch.set_num_threads(trainer.plan.threads)
            loss = self._loss(trainer, rehearsal.steps)
        return loss if math.isfinite(loss) else math.inf

    def _loss(self, trainer: Trainer, steps: int) -> float:
        losses: list[float] = []
        # Until the last step is yielded, and not further: the run would go on to its evaluations.
        for record in trainer.run(steps, flush_at={steps}):
            if isinstance(record, StepRecords):
                losses += record.loss.tolist()
                if trainer.step >= steps:
                    break
        if trainer.fault is not None:
            return math.inf
        if self._has_val:
            return trainer.evaluate("val").loss
        return float(np.mean(losses[-max(1, round(_LAST_SHARE * steps)) :]))

    def _with(self, rehearsal: Rehearsal, rate: float) -> Composed:
        """Return the config of a rehearsal."""
        if rate not in self._at_rate:
            plain = self._composed.plain
            changed = {**plain, "optimizer": with_rate(_optimizer(self._composed), rate)}
            self._at_rate[rate] = load_config(
                replace(self._composed, plain=changed).yaml(),
                where="find-lr",
                allow_import=self._allow_import,
            )
        composed = self._at_rate[rate]
        config = composed.config
        measured = replace(config.monitor, every_step=1, every=0, probes=[])
        return replace(
            composed,
            config=replace(
                config, seed=rehearsal.seed, max_steps=rehearsal.steps, monitor=measured
            ),
        )
