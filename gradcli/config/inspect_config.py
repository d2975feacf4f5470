"""From overrides to the config of an inspection, and to that of each fresh model."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from gradcli.config.compose import Composed, resolve, typed_train
from gradcli.config.config_files import GROUPS, ConfigFiles
from gradcli.config.overrides import parse_override
from gradcli.config.schema import InspectConfig, TrainConfig
from gradcli.config.values import typed
from gradcli.errors import UserError

_TRAIN_KEYS = {field.name for field in fields(TrainConfig)}
_OWN_KEYS = {field.name for field in fields(InspectConfig)}


@dataclass(frozen=True)
class ComposedInspection:
    """How to inspect, and what to build if there is no run to inspect."""

    config: InspectConfig
    overrides: tuple[str, ...]
    """Those of the keys of a training run."""
    variations: tuple[tuple[str, ...], ...]
    """The overrides of each variant; one empty tuple if nothing is varied."""
    files: ConfigFiles
    allow_import: tuple[str, ...]

    def variants(self) -> tuple[Composed, ...]:
        """Compose the config of each variant.

        Raises:
            UserError: if one of them cannot be built.
        """
        return tuple(self._compose(variation) for variation in self.variations)

    def _compose(self, variation: tuple[str, ...]) -> Composed:
        arguments = [*self.overrides, *variation]
        resolved = resolve("inspect", GROUPS, arguments, self.files, self.allow_import)
        plain = {key: value for key, value in resolved.plain.items() if key in _TRAIN_KEYS}
        return typed_train(replace(resolved, plain=plain), self.allow_import)


def compose_inspection(
    overrides: Sequence[str] = (),
    vary: Sequence[str] = (),
    *,
    config_dir: Path | None = None,
    allow_import: Sequence[str] = (),
) -> ComposedInspection:
    """Compose the config of an inspection.

    Args:
        overrides: Hydra overrides, `KEY=VALUE`, of the inspection's own keys and of those of a
            training run, which build a fresh model.
        vary: overrides with several values, `KEY=V1,V2`; all combinations are built.
        config_dir: the user's own config folder, whose options add to the groups.
        allow_import: packages that `_target_` may name in addition to the usual ones.

    Raises:
        UserError: if something is misspelt, of a wrong type or out of its limits.
    """
    files = ConfigFiles(config_dir)
    resolved = resolve("inspect", GROUPS, overrides, files, allow_import)
    own = {key: resolved.plain[key] for key in _OWN_KEYS}
    config, _ = typed(InspectConfig, own, files=resolved.files, allow_import=allow_import)
    return ComposedInspection(
        config=config,
        overrides=tuple(word for word in overrides if not _is_own(word)),
        variations=tuple(itertools.product(*map(_values, vary))),
        files=files,
        allow_import=tuple(allow_import),
    )


def _is_own(word: str) -> bool:
    return parse_override(word).key_or_group.partition(".")[0] in _OWN_KEYS


def _values(word: str) -> list[str]:
    """Return an override for each of the values that `KEY=V1,V2` names.

    Raises:
        UserError: for a key of the inspection's own.
    """
    override = parse_override(word)
    if _is_own(word):
        raise UserError(
            f"'{word}' says how to inspect; only what is inspected can be varied.",
            where="--vary",
            hint="--vary activation=relu,tanh",
        )
    if not override.is_sweep_override():
        return [word]
    return [f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()]
