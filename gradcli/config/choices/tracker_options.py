"""Trackers that are chosen by name alone, as an export does: no run's config names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradcli.config.config_files import ConfigFiles
from gradcli.config.loading import load_file
from gradcli.config.schema import Section
from gradcli.config.targets import check_arguments, resolve_target
from gradcli.config.values import listed_sections
from gradcli.trackers.tracker import Tracker

_GROUP, _KEY = "tracker", "track"


def tracker_names(config_dir: Path | None = None) -> list[str]:
    """Return the names of the trackers that there are.

    Raises:
        UserError: if the user's own config folder cannot be used.
    """
    return ConfigFiles(config_dir).options(_GROUP)


def chosen_tracker(
    name: str, *, config_dir: Path | None = None, allow_import: Sequence[str] = ()
) -> tuple[type[Tracker], Section]:
    """Return the class of a tracker, and the section with its arguments.

    Raises:
        UserError: if its file names no tracker.
    """
    files = ConfigFiles(config_dir)
    shown = {"": files.display(_GROUP, name)}
    (section,) = listed_sections(_KEY, {name: load_file(files.path(_GROUP, name))}, shown)
    target = resolve_target(section, shown[""], allow_import)
    check_arguments(section, target, shown[""])
    return target, section
