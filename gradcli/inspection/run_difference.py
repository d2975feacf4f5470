"""Two runs laid side by side: what was asked, how they were made, and what they came to.

Everything is read from the run directories; of long runs, what was logged is read in blocks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradcli.config import flat_settings
from gradcli.config.config_files import shipped_configs
from gradcli.errors import UserError
from gradcli.inspection.run_summary import summarise_run
from gradcli.records import Floats, StepRecords, TrainSummary
from gradcli.runs import Run

# A long run is read in blocks that stay in a processor's cache.
_ROWS_AT_ONCE = 5_000
# What tells runs apart, and changes nothing.
_LABELS = {"name"}
# Sections that change no training: what is watched, and how often it is saved.
_WATCHED = {"monitor", "checkpoint"}
# What all arms of a comparison share, or what it settles itself.
_NOT_VARIED = {"data", "seed", "threads", "device", "epochs"}
_RATE = "optimizer.lr"


@dataclass(frozen=True, slots=True)
class Contrast:
    """A fact that differs between two runs; None where one of them has none."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class RunDifference:
    """What sets two runs apart."""

    a: TrainSummary
    b: TrainSummary
    overrides: tuple[tuple[str, ...] | None, tuple[str, ...] | None]
    """Those that the runs were begun with; None where that is not on record, as of trials and
    of a loop of the user's own."""
    options: tuple[str, ...] | None
    """Those that a command needs to build both again, such as `--config-dir DIR`; None if they
    differ."""
    settings: tuple[Contrast, ...]
    """What differs in their configs, by the keys with which an override sets it."""
    origin: tuple[Contrast, ...]
    """What differs in the code, the versions, the machine and the data that made them."""
    steps_compared: int
    """The logged steps that both have."""
    first_different_step: int | None
    """The first of those at which a number on record differs; None where all are equal."""
    norms_compared: bool
    """Whether the gradient norms were compared, too: where there are equally many."""

    @property
    def decisions(self) -> tuple[Contrast, ...]:
        """The settings that differ and may change a training.

        Without what a chosen option is given, where the options differ, and without what is only
        watched or saved.
        """
        chosen = {one.key for one in self.settings if "." not in one.key}
        sections = chosen | _WATCHED
        return tuple(
            one for one in self.settings if one.key.partition(".")[0] not in sections - {one.key}
        )

    @property
    def steps_are_same(self) -> bool:
        """Whether both have logged steps, all of them equal, and made equally many."""
        return (
            self.steps_compared > 0
            and self.first_different_step is None
            and self.a.steps == self.b.steps
        )


def difference(a: Run, b: Run) -> RunDifference:
    """Compare two runs, in whatever state they are.

    Raises:
        UserError: where one ended before its model was built, or its config is broken.
    """
    of_a, of_b = _settings(a), _settings(b)
    if of_a.get("data.name") == of_b.get("data.name"):
        of_b["data"] = of_a.get("data")  # `auto` has been settled by then
    settings = _contrasts(of_a, of_b)
    changed = {one.key for one in settings}
    norms = _have_equal_norms(a.steps, b.steps)
    compared, first = _first_different_step(a.steps, b.steps, norms=norms)
    return RunDifference(
        a=summarise_run(a),
        b=summarise_run(b),
        overrides=(_overrides(a), _overrides(b)),
        options=_common_options(a, b),
        # The class says no more than the option that names it.
        settings=tuple(
            one for one in settings if one.key.removesuffix("._target_") not in changed - {one.key}
        ),
        origin=_contrasts(_origin(a), _origin(b)),
        steps_compared=compared,
        first_different_step=first,
        norms_compared=norms,
    )


def fair_comparison(difference: RunDifference) -> list[str] | None:
    """Return the words of the comparison that tries two runs over several seeds.

    There is one where a single decision sets them apart that a comparison can be asked to vary.
    """
    of_a, of_b = difference.overrides
    options = difference.options
    if options is None or of_a is None or of_b is None or len(difference.decisions) != 1:
        return None
    (one,) = difference.decisions
    key, values = one.key, (one.a, one.b)
    if key.partition(".")[0] in _NOT_VARIED or key.endswith("._target_"):
        return None
    if not all(map(_can_be_typed, values)):
        return None
    arguments = [word.lstrip("+") for word in (*of_a, *of_b)]
    given = [word for word in arguments if word.startswith(f"{key}.") and not _sets(word, _RATE)]
    if given or any(_sets(word, "data.val") for word in arguments):
        return None  # an option that was given more than its name; no data to choose by
    optimizer = difference.a.info.optimizer
    if not _is_shipped("optimizer", optimizer) or not all(
        _is_shipped(key, value) for value in values if "." not in key and isinstance(value, str)
    ):
        return None
    typed = ",".join(map(setting, values))
    apart = (key, "optimizer", _RATE, "seed", "name", "threads")
    ours = dict.fromkeys(word.lstrip("+") for word in of_a)
    kept = [word for word in ours if not any(_sets(word, name) for name in apart)]
    command = ["gradcli", "compare-optimizers", *options, *kept]
    if key == "optimizer":
        return [*command, "--optimizers", typed]
    if key == _RATE:
        is_rate = all(float(value) > 0 for value in values)
        return [*command, "--optimizers", optimizer, "--lrs", typed] if is_rate else None
    rates = [word.partition("=")[2] for word in ours if _sets(word, _RATE)]
    given_rates = ["--lrs", rates[-1]] if rates else []
    return [*command, "--optimizers", optimizer, *given_rates, "--vary", f"{key}={typed}"]


def setting(value: Any) -> str:
    """Write a setting as it is typed; none as `null`."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _sets(override: str, key: str) -> bool:
    return override.lstrip("+").partition("=")[0] == key


def _can_be_typed(value: Any) -> bool:
    """Whether a value is a word or a number, which stands between commas as it is."""
    if isinstance(value, bool | int):
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum()


def _is_shipped(group: str, option: str) -> bool:
    """Whether an option is gradcli's own; a word that chooses no option is none to look for."""
    folder = shipped_configs() / group
    return not folder.is_dir() or (folder / f"{option}.yaml").is_file()


def _overrides(run: Run) -> tuple[str, ...] | None:
    return tuple(run.overrides) if run.has_overrides else None


def _common_options(a: Run, b: Run) -> tuple[str, ...] | None:
    one, other = a.paths.arguments(runs=False), b.paths.arguments(runs=False)
    return tuple(a.paths.arguments()) if one == other else None


def _settings(run: Run) -> dict[str, Any]:
    where = f"the config of {run.path}"
    try:
        settings = flat_settings(run.config, where=where)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The config cannot be read: {error}.", where=where) from None
    return {key: value for key, value in settings.items() if key not in _LABELS}


def _origin(run: Run) -> dict[str, Any]:
    """Return what made a run besides its config."""
    state, info = run.state, run.info
    git = state.get("git") or {}
    commit = f"{git['commit'][:12]}{', changed' if git['dirty'] else ''}" if git else None
    return {
        "code": commit,
        **state.get("versions", {}),
        "platform": state.get("platform"),
        "host": state.get("host"),
        "device": info.device,
        "threads": info.threads,
        "data": info.data.name,
        "data sha256": info.data.sha256[:12],
    }


def _contrasts(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Contrast, ...]:
    """Return the keys whose values differ, in the order of the first, then of the second."""
    keys = dict.fromkeys([*a, *b])
    return tuple(Contrast(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key))


def _first_different_step(a: StepRecords, b: StepRecords, *, norms: bool) -> tuple[int, int | None]:
    """Return how many logged steps both have, and the first of them that is not the same in both.

    The parameters' norms are compared, too, where `norms` says so. What is written down has
    float32's digits.
    """
    common, of_a, of_b = np.intersect1d(a.step, b.step, assume_unique=True, return_indices=True)
    for start in range(0, len(common), _ROWS_AT_ONCE):
        block = slice(start, start + _ROWS_AT_ONCE)
        different = ~_same_rows(a, of_a[block], b, of_b[block], norms=norms)
        if different.any():
            return len(common), int(common[start + int(np.argmax(different))])
    return len(common), None


def _same_rows(
    a: StepRecords,
    rows_of_a: NDArray[np.intp],
    b: StepRecords,
    rows_of_b: NDArray[np.intp],
    *,
    norms: bool,
) -> NDArray[np.bool_]:
    """Return for each pair of rows whether they hold the same numbers; NaN is equal to NaN."""
    same = _equal(a.loss[rows_of_a], b.loss[rows_of_b])
    if norms:
        of_a = a.parameter_grad_norm_before_clip[rows_of_a]
        of_b = b.parameter_grad_norm_before_clip[rows_of_b]
        same &= _equal(of_a, of_b).all(axis=1)
    return same


def _have_equal_norms(a: StepRecords, b: StepRecords) -> bool:
    """Whether steps of both have norms of as many parameters."""
    norms = a.parameter_grad_norm_before_clip, b.parameter_grad_norm_before_clip
    return bool(norms[0].shape[1] == norms[1].shape[1])


def _equal(a: Floats, b: Floats) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = np.equal(a, b) | (np.isnan(a) & np.isnan(b))
    return same
