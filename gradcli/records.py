"""The plain records that a run is made of, and what takes them in.

Training yields records and hands each one to every `Recorder`: the run directory, the screen,
a tracker. They all agree because they all see the same records. Nothing here knows torch, rich
or the file system.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Doubles = NDArray[np.float64]
Integers = NDArray[np.integer]

#: The parts of a training step whose time is shown, in the order in which they run.
PHASES = ("data", "forward", "loss", "backward", "update", "monitor")

#: The bins of gradient histograms: bin k holds magnitudes from 10**DECADES[k] to below ten
#: times that. The first bin also holds all smaller ones, and the last all larger ones.
DECADES = range(-24, 8)


@dataclass(frozen=True, slots=True)
class ParameterInfo:
    """A parameter as `named_parameters()` names it."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """A module that owns parameters directly, as `named_modules()` names it.

    `depth` counts such modules in the order of the forward pass, from 0 at the input.
    """

    name: str
    kind: str
    depth: int
    parameters: tuple[ParameterInfo, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the largest parameter: what a reader takes for the layer's shape."""
        return max(self.parameters, key=lambda parameter: parameter.size).shape


@dataclass(frozen=True, slots=True)
class StepRecords:
    """A block of consecutive training steps, one row per step.

    Norms are L2 norms of the gradients, before and after clipping. With n steps and P
    parameters (in the order of the layers' parameters), the shapes are (n,) and (n, P).
    """

    step: Integers
    """The number of updates made when this one is done, from 1."""
    epoch: Integers
    """The epoch that the step belongs to, from 1."""
    loss: Floats
    """The mean loss of the batch, before the update."""
    learning_rate: Floats
    grad_norm_before_clip: Floats
    """The norm over all parameters."""
    clip_coefficient: Floats
    """The norm over all parameters after clipping, divided by the one before; 1 is unclipped."""
    parameter_grad_norm_before_clip: Floats
    parameter_grad_norm_after_clip: Floats
    phase_seconds: dict[str, float] = field(default_factory=dict)
    """The time that the steps of this block took, by phase (`PHASES`)."""

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """What is measured of each layer at the first steps and every `monitor.every` steps.

    There is one value per layer.

    A value that does not exist is NaN (a frozen layer has no update ratio).
    """

    step: int
    weight_norm: tuple[float, ...]
    """The norm of the layer's parameters before the update."""
    update_ratio: tuple[float, ...]
    """||new - old|| / ||old|| over the layer's parameters, without zero-initialised biases."""
    input_grad_norm: tuple[float, ...]
    """The norm of the gradient of the batch's mean loss w.r.t. the layer's input.

    Only of the backward passes whose gradients the update is made of."""


@dataclass(frozen=True, slots=True)
class ParameterGroup:
    """A parameter group of the optimizer: how it moves which parameters.

    What an optimizer does not have is NaN.
    """

    parameters: tuple[int, ...]
    """Their indices among the run's parameters, in the order of the layers' parameters."""
    learning_rate: float
    weight_decay: float = math.nan
    momentum: float = math.nan
    """`momentum`, or the first of `betas`."""
    second_momentum: float = math.nan
    """The second of `betas`, or `alpha`."""
    epsilon: float = math.nan
    decoupled: bool = False
    """Whether the decay shrinks the weights directly, as in AdamW."""


@dataclass(frozen=True, slots=True)
class TensorRange:
    """The values of one tensor: the first input of the model, or its output."""

    shape: tuple[int, ...]
    mean: float
    std: float
    low: float
    high: float
    whole: bool = False
    """Whether the type is an integer, as for word indices."""


@dataclass(frozen=True, slots=True)
class SetupRecord:
    """What a training is set up to do, as observed in one of its steps.

    It is observed at the first steps and now and then later; the last one counts, and the
    counters include the earlier ones. What could not be observed is None or empty.
    """

    step: int
    """The updates made before."""
    groups: tuple[ParameterGroup, ...]
    """Of the watched optimizer; a parameter in no group is never updated by it."""
    requires_grad: tuple[bool, ...]
    """Of each parameter."""
    call_order: tuple[int, ...] = ()
    """The indices of the layers in the order in which the forward pass first called them; layers
    that were not called are left out."""
    calls: tuple[int, ...] = ()
    """How many times one forward pass called each layer, (L,)."""
    single_path: bool | None = None
    """Whether every way from the loss to the first layer passes through each of the called layers,
    once: only then do they have an order that is theirs alone. False with residual or parallel
    branches, and if a layer is called several times; None if unknown."""
    eval_mode: tuple[str, ...] = ()
    """Modules that behave differently while training (dropout, batch norm) but were in eval mode
    in a forward pass that gradients flow through."""
    unmade_statistics: tuple[str, ...] = ()
    """Those of `eval_mode` whose running mean is 0 and running variance 1, as before training."""
    inputs: TensorRange | None = None
    """The first tensor that the model takes; that the first layer takes, if the loop calls the
    layers itself, as `model.forward(x)` does."""
    outputs: TensorRange | None = None
    """The first tensor with an axis that the model returns, or that the last layer does."""
    output_sums: tuple[float, float] = (math.nan, math.nan)
    """The smallest and the largest sum of the output over its last axis: both 1 after a softmax."""
    output_grad_norm: float = math.nan
    """||dL/doutput|| times the root of the batch size: for the mean cross-entropy of guessing
    among many classes about 1, whatever the model and the batch."""
    usual_target: tuple[int, float] = (-1, math.nan)
    """The class that the gradient w.r.t. the output, (n, classes), raises most in the most rows,
    and its share of these rows: of a cross-entropy, the commonest label of the batch. -1 if the
    output has another shape, and if no class is raised."""
    targets_seen: int = 0
    """The rows in which a class is raised. In others the gradient has been rounded to 0."""
    loss_path: tuple[str, ...] = ()
    """The operations from the loss backwards while there is only one way, without views:
    `("NllLoss", "LogSoftmax", "Softmax", "Addmm")` for cross-entropy after a softmax."""
    output_at: int = -1
    """How many operations of `loss_path` come before the model's output; -1 if it is not on it."""
    without_gradient: tuple[int, ...] = ()
    """The parameters whose gradient is None, not zero: nothing of the loss depends on them."""
    weight_gains: tuple[float, ...] = ()
    """Of each layer, the weights' root mean square times sqrt(fan_in), (L,): 1 keeps the size of a
    linear signal. NaN for layers that do not multiply a signal by a matrix, such as lookup
    tables."""
    identical_units: tuple[int, ...] = ()
    """The layers whose units all have the same weights: they compute and learn the same."""
    dropout: tuple[str, float] = ("", 0.0)
    """The module in training mode that drops the largest share, and this share."""
    own_functions: tuple[tuple[str, int], ...] = ()
    """The `torch.autograd.Function`s of the user's in the loss's graph, each with the index of a
    layer whose result it works on; -1 if there is none."""
    cut_off: tuple[tuple[int, int, int], ...] = ()
    """The layers that a forward pass calls several times, if the loss depends on some of these
    calls only: the layer, how many calls it depends on, and how many there are that could get a
    gradient."""
    kept_elsewhere: tuple[int, ...] = ()
    """The layers that the watched optimizer does not hold, and that still had the gradients of
    before its last update when a backward pass added to them."""
    replaced: tuple[int, ...] = ()
    """The layers of which the model now has other parameters than at the start of the training,
    and the watched optimizer does not hold these."""
    broadcast_to: tuple[int, ...] = ()
    """The shape that the loss brings the output to, if it compares each row with every target:
    (n, n) for an output of n rows."""
    updates_watched: int = 0
    """The updates before which it was seen whether the gradients had been cleared."""
    not_cleared: int = 0
    """How many of these began their backward pass with the gradients of the update before."""


Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What models are scored by, apart from the loss that they are trained on."""

    name: str
    direction: Direction
    """Whether a higher or a lower score is better."""

    def merit(self, score: float) -> float:
        """Return the score, negated if a lower one is better: what is to be maximised."""
        return score if self.direction == "maximize" else -score

    @property
    def is_accuracy(self) -> bool:
        """Whether it is a share of examples that are right, between 0 and 1."""
        return self.name == "accuracy"


#: The metric of classification, and of every run from before there were others.
ACCURACY = Metric("accuracy", "maximize")


@dataclass(frozen=True, slots=True)
class EvalRecord:
    """An evaluation on all of one split."""

    step: int
    epoch: int
    split: Literal["val", "test"]
    loss: float
    score: float
    """By the run's metric."""
    train_loss: float
    """The mean loss of the training batches since the last evaluation on `val`."""
    seconds: float
    """Wall-clock seconds since the run began, including earlier parts of a resumed run."""
    seconds_train: float
    """Seconds in training steps alone."""
    example_scores: str = ""
    """What each test example adds to the score, in the order of the split, as `packed_scores`
    writes it; empty on `val`, if the score is no mean over examples, of a loop of your own, and in
    runs from before it was recorded."""

    def scores_of_examples(self, size: int) -> ExampleScores | None:
        """Return the scores of the `size` examples of the split, (size,), if recorded."""
        return unpacked_scores(self.example_scores, size)


#: The scores of n examples, (n,): whether each one is right, or numbers.
ExampleScores = NDArray[np.bool_] | NDArray[np.float32]


def packed_scores(values: ExampleScores) -> str:
    """Write the scores of examples (n,) as text, in base64.

    Truth values take a bit each, the first in the highest bit of a byte; numbers are float32, the
    lowest byte first.
    """
    packed = np.packbits(values) if values.dtype == np.bool_ else values.astype("<f4")  # type: ignore[arg-type]
    return base64.b64encode(packed.tobytes()).decode("ascii")


def unpacked_scores(text: str, size: int) -> ExampleScores | None:
    """Read back the `size` scores that `packed_scores` wrote; None if the text has another size."""
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except ValueError:
        return None
    if size and len(packed) == -(-size // 8):
        return np.unpackbits(packed, count=size).astype(bool)
    if size and len(packed) == 4 * size:
        return packed.view("<f4").astype(np.float32)
    return None


@dataclass(frozen=True, slots=True)
class FaultRecord:
    """The first non-finite value (inf or NaN): its place and its batch. Training stops there."""

    step: int
    """The step whose update was not made; if the phase is `update`, the one whose update did it; in
    an evaluation, the last one before it."""
    epoch: int
    phase: Literal["inputs", "parameters", "forward", "loss", "backward", "update"]
    """`inputs`: what the model or the loss was given. `parameters`: a parameter or a buffer, before
    any update. `update`: a parameter, although the gradients were finite."""
    layer: str | None
    """The layer whose output, gradient or parameter is the first non-finite one; None for the
    inputs, for the loss, and between two layers that the loop calls one by one."""
    loss: float
    batch: tuple[int, ...]
    """The examples' indices in the training split; empty if it was met in an evaluation."""
    operation: str = ""
    """What made the value, as PyTorch names it: `log`, or `SqrtBackward0` in the backward pass."""
    cause: str = ""
    """Why it did, in words: the logarithm of 0."""
    tensor: str = ""
    """The name of the input, parameter or buffer."""
    after: str = ""
    """The last place before it that was finite, where a module is not known or calls others."""
    before: str = ""
    """The next place, which was given the value."""
    unsure: str = ""
    """Why the place is not certain, as a clause; empty if it is."""
    forward_pass: int = 0
    """Which of the update's forward passes it was, from 1: the micro-batch of an accumulation.
    0 if it is not known."""
    forward_passes: int = 0
    """How many there were until it was found."""
    split: str = ""
    """The split whose evaluation after that step met it, `val` or `test`; empty in training."""


@dataclass(frozen=True, slots=True)
class ProbeRecord:
    """One probe at one step: its result in a few numbers and as a whole, and its cost.

    Numbers that a probe does not have are NaN, as are all numbers of one without a result.
    """

    step: int
    """The updates made before."""
    probe: str
    """As `--probe` names it."""
    value: float = math.nan
    """The result in one number; the probe's `summary` says which."""
    low: float = math.nan
    """The lower end of the value's interval, or the smallest of what it stands for."""
    high: float = math.nan
    """The upper end, or the largest of what it stands for."""
    limit: float = math.nan
    """What the value must stay below, in the same unit."""
    seconds: float = math.nan
    passes: float = math.nan
    """The cost in forward-backward passes of one training batch."""
    refused: str = ""
    """Why there is no result: the probe does not apply to the model, or it failed; else empty."""
    result: Any = None
    """All that was found, as plain values: what `inspect-gradients --probe --json` prints."""


Record = StepRecords | LayerRecord | SetupRecord | EvalRecord | FaultRecord | ProbeRecord


@dataclass(frozen=True, slots=True)
class Finding:
    """What the diagnosis says of a run."""

    code: str
    severity: Literal["info", "warning", "error"]
    layer: str | None
    evidence: dict[str, float | int | str]
    threshold: str
    """The rule, with its constant."""
    message: str
    """What it means, in a sentence for a student."""
    override: str | None
    """A complete override that can be pasted; None if no override fixes it."""
    mend: str = ""
    """What to change in the code, in a sentence, if no override fixes it."""
    follows_from: str | None = None
    """The code of the finding that explains this one; None for a cause of its own."""
    certainty: float = math.nan
    """The probability, 0 to 1, that a finding of this code is right, as measured on the benchmark's
    trainings; of one that follows from another finding, that finding's. NaN if not measured."""


#: Data with fewer examples to train and validate on is small: an epoch with the default batch size
#: of 128 has fewer than 80 steps.
SMALL_DATA = 10_000


@dataclass(frozen=True, slots=True)
class DataInfo:
    """Which data a run used.

    The data of the user's own loop are unknown: they are named `own`, and sizes, shape and
    classes are 0.
    """

    name: str
    train: int
    val: int
    test: int
    sha256: str
    shape: tuple[int, ...]
    """The shape of one example, of an image (channels, height, width)."""
    classes: int
    """0 if the targets are not classes."""
    note: str = ""
    """What the user must know about the choice (why the sample is used); usually empty."""
    file: str = ""
    """The Python file of a problem of the user's own; else empty."""
    file_sha256: str = ""
    """A hash of that file, or of the code of a problem that no file has."""

    @property
    def identity(self) -> str:
        """A hash of all that the data, and a model that belongs to them, depend on."""
        return f"{self.sha256}{self.file_sha256}"

    @property
    def is_small(self) -> bool:
        """Whether an epoch is so short that a comparison needs more of them, as of `mnist5k`.

        The split into training and validation examples does not matter.
        """
        return self.train + self.val < SMALL_DATA


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group of `optimizer.groups`: which parameters it took, and how they are updated."""

    name: str
    optimizer: str
    """The class, as `_target_` names it."""
    keywords: dict[str, Any]
    """The class's keyword arguments that the config sets for the group."""
    learning_rate: float
    """Before the schedule; NaN if the class has none."""
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What is known of a run when it starts: the header of every screen.

    The user's own loop (`GradientMonitor`) does not provide everything. What is not known is
    0 or empty, and NaN for a learning rate.
    """

    run: str
    """The name of the run's directory."""
    name: str
    data: DataInfo
    model: str
    model_size: int
    """The number of trained parameters."""
    optimizer: str
    learning_rate: float
    schedule: str
    clip: str
    activation: str
    device: str
    threads: int
    batch_size: int
    epochs: int
    total_steps: int
    start_step: int
    """Steps already done when this process began (0 unless resumed)."""
    layers: tuple[LayerInfo, ...]
    metric: Metric = ACCURACY
    loss: str = "cross_entropy"
    """The name of the loss that is minimised; empty if it is not known."""
    groups: tuple[GroupInfo, ...] = ()
    """Those of `optimizer.groups`, of which the first has the run's learning rate; empty if the
    config has none."""

    @property
    def is_own_loop(self) -> bool:
        """Whether the user's own loop trained it (`GradientMonitor`)."""
        return self.total_steps == 0


@dataclass(frozen=True, slots=True)
class NormSummary:
    """A column of norms over the whole run; NaN if no step was made."""

    first: float
    last: float
    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class LayerSummary:
    """One layer over the whole run."""

    name: str
    grad_norm_before_clip: NormSummary
    grad_norm_after_clip: NormSummary
    clipped_fraction: float
    """The fraction of steps in which clipping shrank this layer's gradient."""
    weight_norm: float
    update_ratio: float
    """This and `weight_norm` are the last ones measured; NaN if there are none."""


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """A parameter group over the whole run; what is not known is NaN."""

    info: GroupInfo
    first_learning_rate: float
    last_learning_rate: float
    grad_norm_before_clip: NormSummary


Status = Literal["running", "finished", "diverged", "interrupted", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class ClipOutlook:
    """The global norm before clipping over the recorded steps, and what limits would clip of it.

    Steps whose norm is not finite are left out.
    """

    median: float
    percent_90: float
    """Nine steps of ten are not above it."""
    largest: float
    limits: tuple[float, ...]
    """Two of the series 1, 2, 5, 10, ... below the median, and two above; empty if that is 0."""
    would_clip: tuple[float, ...]
    """The fraction of steps whose norm is above each limit. A training with that limit would have
    taken another path: it says how tight a limit is, not what comes of it."""


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """The result of a run: what `--json`, the closing screen and `runs show` draw from.

    Unknown numbers are NaN: a score that was not measured, the times of a run that was killed
    before it noted any, all times of the user's own loop except for the total.
    """

    info: RunInfo
    path: str
    """The run directory, as the user would type it."""
    status: Status
    epochs: int
    """Epochs completed."""
    steps: int
    train_loss: float
    val_score: float
    test_score: float
    seconds_total: float
    seconds_first_step: float
    """From process start to the end of the first training step."""
    seconds_train: float
    steps_per_second: float
    phases: dict[str, float]
    """The fraction of `seconds_train` that each of `PHASES` took; all 0 if unknown."""
    clipped_fraction: float
    layers: tuple[LayerSummary, ...]
    findings: tuple[Finding, ...]
    fault: FaultRecord | None = None
    notes: tuple[str, ...] = ()
    """What a reader must know first: that damaged rows of the logs were left out."""
    groups: tuple[GroupSummary, ...] = ()
    """Those of `optimizer.groups`; empty if the config has none."""
    clip_outlook: ClipOutlook | None = None
    """None if no step with a finite norm is on record."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the list of runs shows it."""

    run: str
    """The name of the run's directory."""
    name: str
    status: Status
    when: str
    """When it began, as text for the user."""
    data: str
    model: str
    optimizer: str
    epochs: int
    test_score: float
    """NaN if there is none."""
    findings: tuple[str, ...]
    """The codes of what the diagnosis found."""
    metric: Metric = ACCURACY


def layers_in_call_order(
    layers: tuple[LayerInfo, ...], setup: SetupRecord | None
) -> tuple[int, ...]:
    """Return the indices of all layers from the input to the output, as the forward pass goes.

    A layer that is not called as a module, such as the output projection of PyTorch's attention,
    comes after the layer that is registered before it. Without a `setup`, or if it tells no order,
    the order of registration stands. Whether there is one order at all says `setup.single_path`.
    """
    called = () if setup is None else setup.call_order
    order = list(called)
    for index in range(len(layers)):
        if called and index not in called:
            order.insert(order.index(index - 1) + 1 if index else 0, index)
    return tuple(order or range(len(layers)))


class Recorder:
    """Takes in a run while it happens. Derive from it and override what you need.

    All calls come from the process that trains, in this order: `begin` once; `record` for each
    record, as it comes; `finish` if the run ends with a summary, which is when it has finished,
    diverged or been interrupted; `close` in every case, last. `note` may come at any time.

    Any method may raise. The run then continues without this recorder, and the user sees which one
    failed and why, `run.json` notes it, and `close` is called. Only the run directory's own
    recorder ends a run by failing. The constructor is called before the run begins; what it
    raises ends the command, so whatever may fail for a while (a connection) belongs in `begin`.

    A recorder must leave records and random states as they are, and return quickly: the training
    waits for it.
    """

    shows_notes = False
    """Whether a person reads what `note` receives. If not, warnings are Python warnings."""

    def begin(self, info: RunInfo, path: str, settings: Mapping[str, Any]) -> None:
        """Learn what is about to run.

        Args:
            info: the header of the run. If it is resumed, `info.start_step` is not 0, and
                records of later steps that an earlier process emitted come again.
            path: the run directory.
            settings: the resolved config by the keys of overrides, such as `optimizer.lr`.
        """

    def record(self, record: Record) -> None:
        """Take in the next record."""

    def note(self, text: str) -> None:
        """Take in a sentence for the user, such as a warning."""

    def finish(self, summary: TrainSummary) -> None:
        """Take in how the run ended."""

    def close(self) -> None:
        """Release what `begin` has opened. May be called without `begin`, and again."""


def was_clipped(after: Floats, before: Floats | float = 1.0) -> NDArray[np.bool_]:
    """Whether clipping made a gradient smaller, by more than the rounding of a float32 column.

    Args:
        after: norms after clipping; or clip coefficients, which are relative to a norm of 1.
        before: the same norms before clipping.
    """
    smaller: NDArray[np.bool_] = after < before * (1 - 1e-6)
    return smaller


def norm_by_layer(parameter_norms: Floats, layers: tuple[LayerInfo, ...]) -> NDArray[np.float64]:
    """Derive the layers' norms (n, L) from their parameters' norms (n, P), in float64."""
    counts = [len(layer.parameters) for layer in layers]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp)
    squares = np.square(parameter_norms.astype(np.float64))
    norms: NDArray[np.float64] = np.sqrt(np.add.reduceat(squares, starts, axis=1))
    return norms
