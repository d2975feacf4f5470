"""The examples of a batch as a person sees them: pictures, texts, rows, labels, predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gradcli.data import AugmentedBatches, Dataset, Split
from gradcli.inspection.one_step.known_examples import KnownExamples
from gradcli.inspection.one_step.suspicion import BatchValues
from gradcli.records import Floats
from gradcli.workflows.one_step.step_replay import ReplayedStep

#: The columns of a row that are shown, and the tokens of a text.
_MOST_COLUMNS, _MOST_TOKENS = 3, 48
_GREATEST_BYTE = 255.0
#: Of a large data set, the batch is compared with so many examples and numbers (128 MB).
_MOST_EXAMPLES, _MOST_NUMBERS = 10_000, 32_000_000


@dataclass(frozen=True)
class ShownBatch:
    """The examples of a batch before they are normalised, and what the model made of them."""

    raw: Tensor
    """(n, ...): as they are in the data, augmented if the training was; of a stream, as they
    came."""
    targets: Tensor
    """(n, ...)"""
    outputs: Tensor
    """(n, ...)"""
    dataset: Dataset
    probabilities: Floats | None
    """(n, classes); None if the model predicts no classes."""
    examples: Tensor
    """Which of the training split they are, (n,); empty of a stream."""

    @property
    def kind(self) -> str:
        """What the examples are called."""
        if self.dataset.vocabulary:
            return "texts"
        if self._are_images:
            return "images"
        return "rows" if self.raw.dim() == 2 else "examples"

    @property
    def _are_images(self) -> bool:
        channels = self.raw.shape[1] if self.raw.dim() == 4 else 0
        return channels in (1, 3) and not self.dataset.vocabulary

    @property
    def _has_sizes(self) -> bool:
        """Whether the values of the inputs are sizes, and not names such as tokens."""
        return not self.dataset.vocabulary and (
            self.raw.is_floating_point() or self.raw.dtype == torch.uint8
        )

    def values(self) -> BatchValues:
        """Return what examples are judged by."""
        said = BatchValues(
            inputs=None,
            greatest=_GREATEST_BYTE if self.raw.dtype == torch.uint8 else None,
            labels=self.targets.numpy() if self._are_labels(self.targets) else None,
            probabilities=self.probabilities,
            class_names=self.dataset.names.classes,
        )
        if not self._has_sizes:
            return said
        split, numbers = self._known_split()
        return replace(
            said,
            inputs=_rows(self.raw),
            image_shape=tuple(self.raw.shape[1:]) if self._are_images else None,
            known=self._known(split),
            originals=_rows(split.inputs[numbers]),
            numbers=numbers.numpy(),
        )

    def _are_labels(self, targets: Tensor) -> bool:
        of_classes = self.probabilities is not None and targets.dim() == 1
        return of_classes and not targets.is_floating_point()

    def _known_split(self) -> tuple[Split, Tensor]:
        """Return what examples are compared with, and which of it they are.

        It is the training split; of a stream, which is not in memory, the batch itself.
        """
        if isinstance(self.dataset.train, Split):
            return self.dataset.train, self.examples
        return Split(self.raw, self.targets), torch.arange(len(self.raw))

    def _known(self, split: Split) -> KnownExamples:
        most = min(_MOST_EXAMPLES, max(1, _MOST_NUMBERS // split.inputs[0].numel()))
        numbers = torch.arange(len(split))
        if len(split) > most:
            # Some at random, the same each time.
            order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
            numbers = order[:most]
        return KnownExamples(
            _rows(split.inputs[numbers]),
            numbers.numpy(),
            split.targets[numbers].numpy() if self._are_labels(split.targets) else None,
            are_columns=self.raw.dim() == 2,
        )

    def label(self, place: int) -> str:
        """Return the target of an example in words; empty if it is too long."""
        return self._in_words(self.targets[place], is_class=self.probabilities is not None)

    def prediction(self, place: int) -> tuple[str, float]:
        """Return what the model makes of an example, and the probability if it is a class."""
        if self.probabilities is not None:
            predicted = int(np.argmax(self.probabilities[place]))
            if not np.isfinite(self.probabilities[place]).all():
                return "", math.nan
            return self.values_name(predicted), float(self.probabilities[place, predicted])
        return self._in_words(self.outputs[place], is_class=False), math.nan

    def values_name(self, label: int) -> str:
        """Return the name of a class; its number if it has none."""
        names = self.dataset.names.classes
        return names[label] if label < len(names) else str(label)

    def row(self, index: int) -> int | None:
        """Return the row of its file that a training example is; None if that is not known."""
        rows = self.dataset.names.rows
        return None if rows is None else int(rows[index])

    def file(self, index: int) -> str:
        """Return the file of a training example; empty if it has none of its own."""
        row, files = self.row(index), self.dataset.names.files
        return "" if row is None or not files else files[row]

    def content(self, place: int) -> str:
        """Return the text, or the columns that stand out most; empty for an image."""
        if self.dataset.vocabulary:
            return self._text(place)
        if self.raw.dim() == 2 and self._has_sizes:
            return self._columns(place)
        return ""

    def picture(self, place: int) -> Floats | None:
        """Return an image (height, width, channels), 0 to 1; None if it is none."""
        if not self._are_images:
            return None
        image = self.raw[place].float().permute(1, 2, 0).numpy()
        if self.raw.dtype == torch.uint8:
            return np.asarray(image / _GREATEST_BYTE)
        # One range for all, so that what is out of it looks so; of a huge one all is out of it.
        low = float(self.raw.flatten(1).amin(1).median())
        high = float(self.raw.flatten(1).amax(1).median())
        return np.clip((image - low) / ((high - low) or 1.0), 0, 1)

    def _in_words(self, value: Tensor, *, is_class: bool) -> str:
        if value.numel() != 1:
            return ""
        number = value.item()
        if is_class and not value.is_floating_point():
            return self.values_name(int(number))
        return f"{number:.3g}" if value.is_floating_point() else str(number)

    def _text(self, place: int) -> str:
        tokens = self.raw[place].flatten()[:_MOST_TOKENS].tolist()
        names = self.dataset.names.tokens
        return "".join(
            names[one] if one < len(names) else "\N{REPLACEMENT CHARACTER}" for one in tokens
        )

    def _columns(self, place: int) -> str:
        """Name the columns whose values are furthest from the batch's, in its deviations."""
        raw = self.raw.float()
        middle = raw.nanmedian(dim=0).values
        spread = (raw - middle).abs().nanmedian(dim=0).values
        usual = spread[spread > 0].median() if bool((spread > 0).any()) else torch.tensor(1.0)
        apart = (raw[place] - middle).abs() / torch.where(spread > 0, spread, usual)
        apart = torch.nan_to_num(apart, nan=math.inf, posinf=math.inf)
        furthest = torch.argsort(apart, descending=True, stable=True)[:_MOST_COLUMNS]
        names = self.dataset.names.columns
        return ", ".join(
            f"{names[at] if at < len(names) else f'column {at}'} {float(raw[place, at]):.3g}"
            for at in furthest.tolist()
        )


def shown_batch(step: ReplayedStep, outputs: Tensor) -> ShownBatch:
    """Return the examples of a batch as they are in the data.

    Args:
        step: with the batch.
        outputs: of the model, (n, ...), on the CPU.
    """
    batch, dataset = step.batch, step.dataset
    examples, config = batch.examples.cpu(), step.composed.config
    if isinstance(step.source, AugmentedBatches):
        raw = step.source.images(examples, config.seed, step.epoch)
    elif isinstance(dataset.train, Split):
        raw = dataset.train.inputs[examples]
    else:
        raw = batch.inputs.cpu()
    probabilities = _probabilities(dataset, outputs)
    return ShownBatch(raw, batch.targets.cpu(), outputs, dataset, probabilities, examples)


def _rows(inputs: Tensor) -> Floats:
    """Return inputs as rows of numbers (n, values)."""
    rows: Floats = inputs.flatten(1).float().numpy()
    return rows


def _probabilities(dataset: Dataset, outputs: Tensor) -> Floats | None:
    """Return what the model gives each class (n, classes); None if it predicts none."""
    if dataset.objective.name in ("cross_entropy", "nll") and outputs.dim() == 2:
        found: Floats = outputs.double().softmax(dim=1).numpy()
        return found
    return None
