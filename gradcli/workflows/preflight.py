"""What a training would run into, said before it starts: in the data, and in its batches."""

from __future__ import annotations

import torch
from torch import nn

from gradcli.config import Composed, TrainConfig
from gradcli.data import Dataset, steps_per_epoch
from gradcli.data.remarks import remarks_on
from gradcli.data.streams.stream import Stream, StreamLength
from gradcli.errors import UserError
from gradcli.models.build import Refusal, refusal_of_one_example
from gradcli.training import total_steps
from gradcli.workflows.building import build_network
from gradcli.workflows.splits import augment_name, training_batches

# A batch that is too small for batch norm becomes at least as large in what is suggested.
_SUGGESTED_BATCH = 32


def remarks_before_training(composed: Composed, dataset: Dataset) -> list[str]:
    """Return what the user should know before a config is trained on a data set.

    Raises:
        UserError: if training would fail at a batch of one example, which batch norm cannot take,
            or if the data cannot be trained on, or not augmented.
    """
    remarks = [*composed.remarks, *remarks_on(dataset, composed.config.data.normalize)]
    if augment_name(composed):
        training_batches(composed, dataset, torch.device("cpu"))
    config = composed.config
    if isinstance(dataset.train, Stream):
        length = dataset.train.length(config.update_batch_size)
        remarks += _on_stream(config, length)
        meets_one = length.batch_size == 1 or length.last_batch == 1
    else:
        meets_one = _meets_one_example(composed, len(dataset.train))
    if meets_one:
        network = build_network(composed, dataset)
        if refusal := _refusal(network, dataset):
            raise _error(composed, dataset, refusal)
    return remarks


def _on_stream(config: TrainConfig, length: StreamLength) -> list[str]:
    """Say what of a config does not apply to a stream.

    Raises:
        UserError: if that would change the batches.
    """
    if config.data.drop_last:
        raise UserError(
            "The training examples are a stream, whose loader decides on its last batch.",
            where="data.drop_last",
            hint="drop_last=True in the loader",
        )
    if length.batch_size == config.update_batch_size:
        return []
    return [
        f"The training stream makes batches of {length.batch_size}; batch_size="
        f"{config.batch_size} does not apply. It does if what makes the loader takes batch_size."
    ]


def _refusal(network: nn.Module, dataset: Dataset) -> Refusal | None:
    """Return why the network cannot be trained on one example; None if it can."""
    if dataset.make_model is not None:
        return refusal_of_one_example(network, dataset.train.at_hand.inputs[:1], None)
    blank = torch.zeros(1, *dataset.info.shape, dtype=dataset.input_type)
    return refusal_of_one_example(network, blank, dataset.output_shape)


def _meets_one_example(composed: Composed, examples: int) -> bool:
    """Whether one of the batches of the whole training has a single example."""
    config = composed.config
    if config.batch_size == 1 or examples == 1:
        return True
    per_epoch = steps_per_epoch(examples, config.batch_size, drop_last=False)
    return (
        examples % config.batch_size == 1
        and not config.data.drop_last
        and total_steps(per_epoch, config.epochs, config.max_steps) >= per_epoch
    )


def _error(composed: Composed, dataset: Dataset, refusal: Refusal) -> UserError:
    """Return the error that says which module refuses which batch, and what to do."""
    batch, examples = composed.config.batch_size, len(dataset.train)
    norm = composed.config.model.arguments.get("norm") == "batch"
    place = refusal.place or ("model.norm" if norm else refusal.module or "model")
    module = f"{refusal.module} ({refusal.kind})" if refusal.module else refusal.kind
    problem = f"{module} cannot be trained on a batch of one example"
    if "BatchNorm" not in refusal.kind:
        problem += f": {refusal.words}"
    if isinstance(dataset.train, Stream):
        return UserError(
            f"{problem}, and the training stream has one.",
            where=place,
            hint="drop_last=True in the loader, or larger batches",
        )
    if examples == 1:
        return UserError(
            f"{problem}, and there is only one training example.",
            where=place,
            hint="a smaller data.val, or more data",
        )
    others = range(_SUGGESTED_BATCH if batch == 1 else batch + 1, examples)
    another = next((size for size in others if examples % size != 1), examples)
    where, hint = f"batch_size / {place}", f"batch_size={another}"
    if batch == 1:
        return UserError(f"{problem}.", where=where, hint=hint)
    return UserError(
        f"{problem}, and of {examples:,} training examples in batches of {batch} one is left over.",
        where=where,
        hint=f"data.drop_last=true, or {hint}",
    )
