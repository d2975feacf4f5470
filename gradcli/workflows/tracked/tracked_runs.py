"""Runs told to trackers: those that the config of a training names, and one that exports a run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from gradcli.config import Composed
from gradcli.config.choices.tracker_options import chosen_tracker
from gradcli.config.settings import flat_settings
from gradcli.config.targets import construct
from gradcli.errors import UserError, exception_in_words, place_in_own_code
from gradcli.inspection.run_summary import summarise_run
from gradcli.runs import ComparisonDirectory, Run, is_run
from gradcli.runs.writer import CONFIG_FILE, PLOTS
from gradcli.trackers import Tracker, TrackingRecorder
from gradcli.trackers.tracking import NORMS_PICTURE, tracked_run


def build_trackers(composed: Composed) -> list[TrackingRecorder]:
    """Build the trackers that follow a training, in the order of its config.

    Raises:
        UserError: if a library is missing.
    """
    layers = composed.config.track_layers
    return [
        TrackingRecorder(
            section.option,
            construct(composed.classes[f"tracker/{section.option}"], section.arguments, "tracker"),
            layers=layers,
            draw=_drawn_picture,
        )
        for section in composed.config.track
    ]


def export_to_tracker(
    found: Run | ComparisonDirectory,
    name: str,
    folder: Path,
    *,
    layers: bool = False,
    config_dir: Path | None = None,
    allow_import: Sequence[str] = (),
) -> Tracker:
    """Write a run, or each trial of a comparison that has begun, for the program of a tracker.

    What the folder already holds of the same runs is replaced; other runs stay.

    Args:
        found: what to export.
        name: of the tracker, as `track=[NAME]` has it.
        folder: is made if it does not exist.
        layers: whether each layer has curves of its own.
        config_dir: the user's own config folder, whose options add to the groups.
        allow_import: packages that the tracker may come from, apart from gradcli.

    Returns:
        The tracker of the last run.

    Raises:
        UserError: if a library is missing, or there is nothing to export.
    """
    target, section = chosen_tracker(name, config_dir=config_dir, allow_import=allow_import)
    runs = found.trials() if isinstance(found, ComparisonDirectory) else [found]
    runs = [run for run in runs if "info" in run.state] or runs[:1]
    if not runs:
        raise UserError(f"{found.path} has no trial that has begun.", where="RUN")
    for run in runs:
        tracker: Tracker = construct(target, section.arguments, "tracker")
        settings, summary = _settings(run), summarise_run(run)
        name_of_folder = tracked_run(run, run.info, settings).folder_name
        place = folder if tracker.shares_folder else folder / name_of_folder
        if is_run(place):
            raise UserError(
                f"{place} is the run itself.",
                where="-o",
                hint=f"-o {name}",
            )
        place.mkdir(parents=True, exist_ok=True)
        recorder = TrackingRecorder(
            name, tracker, layers=layers, draw=_new_picture, folder=place.resolve()
        )
        try:
            with closing(recorder):
                recorder.begin(run.info, str(run.path), settings)
                recorder.finish(summary)
        except UserError:
            raise
        except Exception as error:  # whatever a library of somebody else's raises
            raise UserError(
                f"{name} failed: {exception_in_words(error)}",
                where=place_in_own_code(error) or f"--format {name}",
            ) from error
    return tracker


def _settings(run: Run) -> dict[str, object]:
    """Return the settings of a run; those of an older one from its config."""
    stored = run.state.get("settings")
    return stored or flat_settings(run.config, where=str(run.path / CONFIG_FILE))


def _drawn_picture(run: Run) -> bytes | None:
    """Return the picture that was drawn as the run ended; trials of comparisons have none."""
    picture = run.path / PLOTS / f"{NORMS_PICTURE}.png"
    return picture.read_bytes() if picture.is_file() else None


def _new_picture(run: Run) -> bytes | None:
    """Draw a run; None if it has no steps."""
    from gradcli.views.draw.run_figures import norms_picture

    return norms_picture(run.info, run.steps) if len(run.steps) else None
