"""How two runs differ: in their settings, in how they were made, and in their results.

Everything is read from the run directories, the logs of long runs in blocks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcli.config import flat_settings
from gradcli.config.config_files import shipped_configs
from gradcli.errors import UserError
from gradcli.inspection.parting.contrast import Contrast
from gradcli.inspection.parting.first_place import FirstPlace, first_place
from gradcli.inspection.parting.growth import Growth, growth
from gradcli.inspection.parting.layer_courses import LayerCourse, layer_courses
from gradcli.inspection.parting.step_gaps import equal, step_gaps
from gradcli.inspection.run_summary import summarise_run
from gradcli.records import StepRecords, TrainSummary
from gradcli.runs import Run

# A long run is read in blocks that stay in a processor's cache.
_ROWS_AT_ONCE = 5_000
# Settings that only name a run.
_LABELS = {"name"}
# Sections that change no training: what is recorded, and how often it is saved.
_WATCHED = {"monitor", "checkpoint"}
# Keys that all arms of a comparison share, or that a comparison sets itself.
_NOT_VARIED = {"data", "seed", "threads", "device", "epochs"}
_RATE = "optimizer.lr"
# Facts about how a run was made that change how sums are rounded.
_ROUNDING = {"torch", "platform", "host", "device", "threads"}


@dataclass(frozen=True, slots=True)
class RunDifference:
    """How two runs differ."""

    a: TrainSummary
    b: TrainSummary
    overrides: tuple[tuple[str, ...] | None, tuple[str, ...] | None]
    """Those that the runs were begun with; None if they are not recorded, as for trials and for
    the user's own loop."""
    options: tuple[str, ...] | None
    """Those that a command needs to build both again, such as `--config-dir DIR`; None if they
    differ."""
    settings: tuple[Contrast, ...]
    """The settings that differ, under the keys that an override uses."""
    origin: tuple[Contrast, ...]
    """What differs in the code, versions, machine, data and commands that made them."""
    steps_compared: int
    """The logged steps that both have."""
    first_different_step: int | None
    """The first of those at which the loss or a gradient norm differs; None if all are equal."""
    norms_compared: bool
    """Whether the gradient norms were compared, too: if both have equally many."""
    causes: tuple[tuple[str, int], ...]
    """The recorded quantities that differ although they do not depend on the weights, such as the
    learning rate, each with the first step at which it does."""

    first_place: FirstPlace | None = None
    """Where the runs part first; None if nothing that is recorded differs."""
    growth: Growth | None = None
    """How fast they part; None if no logged step differs."""
    layer_courses: tuple[LayerCourse, ...] = ()
    """How far apart each layer is, if both have the same layers and part."""
    routing: tuple[Contrast, ...] = ()
    """The parameters that other groups of `optimizer.groups` update, by name, each with its group;
    None in a run without groups."""

    @property
    def decisions(self) -> tuple[Contrast, ...]:
        """The settings that differ and may change a training.

        If another option of a group is chosen, the keys of the options are left out, and so is
        what only changes what is recorded or saved.
        """
        chosen = {one.key for one in self.settings if "." not in one.key}
        sections = chosen | _WATCHED
        return tuple(
            one for one in self.settings if one.key.partition(".")[0] not in sections - {one.key}
        )

    @property
    def steps_are_same(self) -> bool:
        """Whether both made equally many steps, and all those that are logged are equal."""
        return (
            self.steps_compared > 0
            and (self.first_place is None or self.first_place.stage == "layers")
            and self.first_different_step is None
            and self.a.steps == self.b.steps
        )


def difference(a: Run, b: Run) -> RunDifference:
    """Compare two runs, whatever their status.

    Raises:
        UserError: if one ended before its model was built, or its config is broken.
    """
    of_a, of_b = _settings(a), _settings(b)
    if of_a.get("data.name") == of_b.get("data.name"):
        of_b["data"] = of_a.get("data")  # `auto` may have chosen the same data
    settings = tuple(one for one in _contrasts(of_a, of_b) if not _sets_nothing(one))
    changed = {one.key for one in settings}
    gaps = step_gaps(a.steps, b.steps)
    origin = _contrasts(_origin(a), _origin(b))
    if _parts(a) != _parts(b) or (gaps.first is not None and not settings and not origin):
        origin += _contrasts(_commands(a), _commands(b))
    place = first_place(a, b, gaps, same_machine=not {one.key for one in origin} & _ROUNDING)
    grown = growth(gaps)
    return RunDifference(
        a=summarise_run(a),
        b=summarise_run(b),
        overrides=(_overrides(a), _overrides(b)),
        options=_common_options(a, b),
        # An option implies its class.
        settings=tuple(
            one for one in settings if one.key.removesuffix("._target_") not in changed - {one.key}
        ),
        origin=origin,
        steps_compared=len(gaps.step),
        first_different_step=gaps.first,
        norms_compared=gaps.norms_compared,
        causes=_causes(a.steps, b.steps),
        routing=_contrasts(_routing(a), _routing(b)),
        first_place=place,
        growth=grown,
        layer_courses=layer_courses(a, b, place, grown),
    )


def fair_comparison(difference: RunDifference) -> list[str] | None:
    """Return the command of a comparison that repeats two runs with several seeds.

    None unless the runs differ in a single setting, and in one that a comparison can vary.
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
        return None  # an option with its own keys, or no validation data to choose by
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
    """Write a setting as a user types it; None as `null`."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _sets(override: str, key: str) -> bool:
    return override.lstrip("+").partition("=")[0] == key


def _can_be_typed(value: Any) -> bool:
    """Whether a value is a word or a number, which needs no quotes in a list."""
    if isinstance(value, bool | int):
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum()


def _is_shipped(group: str, option: str) -> bool:
    """Whether an option is one of gradcli's, or the group is none and so has no options."""
    folder = shipped_configs() / group
    return not folder.is_dir() or (folder / f"{option}.yaml").is_file()


def _overrides(run: Run) -> tuple[str, ...] | None:
    return tuple(run.overrides) if run.has_overrides else None


def _common_options(a: Run, b: Run) -> tuple[str, ...] | None:
    one, other = a.paths.arguments(runs=False), b.paths.arguments(runs=False)
    return tuple(a.paths.arguments(beside=_overrides(a) or ())) if one == other else None


def _settings(run: Run) -> dict[str, Any]:
    where = f"the config of {run.path}"
    try:
        settings = flat_settings(run.config, where=where)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The config cannot be read: {error}.", where=where) from None
    return {key: value for key, value in settings.items() if key not in _LABELS}


def _origin(run: Run) -> dict[str, Any]:
    """Return what made a run, apart from its config and its commands."""
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


def _parts(run: Run) -> list[int]:
    """Return the steps at which the processes that trained a run began."""
    parts = run.state.get("parts")
    if parts is None:  # a run of an older release: only how often it was resumed
        return [0] * (1 + len(run.state.get("resumed", ())))
    return [part["start_step"] for part in parts]


def _commands(run: Run) -> dict[str, str]:
    """Return the commands that trained a run: of each process the overrides, else the command."""
    state = run.state
    parts = state.get("parts") or [{"start_step": 0, **state}]
    resumed = len(state.get("resumed", ()))
    texts = []
    for part in parts:
        overrides = [word for word in part.get("overrides", ()) if not _sets(word, "name")]
        begin = f"resumed at step {part['start_step']}: " if part["start_step"] else ""
        texts.append(begin + " ".join(overrides or part.get("argv", ())))
    if "parts" not in state and resumed:
        texts.append(f"resumed {resumed} times")
    return {"commands": "; ".join(texts)}


def _causes(a: StepRecords, b: StepRecords) -> tuple[tuple[str, int], ...]:
    """Return what differs between the common steps that no difference of weights can change."""
    common, of_a, of_b = np.intersect1d(a.step, b.step, assume_unique=True, return_indices=True)
    causes = []
    for name in ("learning_rate", "epoch"):
        for start in range(0, len(common), _ROWS_AT_ONCE):
            block = slice(start, start + _ROWS_AT_ONCE)
            same = equal(getattr(a, name)[of_a[block]], getattr(b, name)[of_b[block]])
            if not same.all():
                causes.append((name.replace("_", " "), int(common[start + int(np.argmin(same))])))
                break
    return tuple(causes)


def _contrasts(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Contrast, ...]:
    """Return the keys whose values differ, in the order of the first, then of the second."""
    keys = dict.fromkeys([*a, *b])
    return tuple(Contrast(key, a.get(key), b.get(key)) for key in keys if a.get(key) != b.get(key))


def _sets_nothing(one: Contrast) -> bool:
    """Whether a table is empty where the other run lacks it, as a group without its own keys is."""
    return all(value is None or value == {} for value in (one.a, one.b))


def _routing(run: Run) -> dict[str, str]:
    """Return the name of the group of each parameter; empty without groups."""
    return {name: group.name for group in run.info.groups for name in group.parameters}
