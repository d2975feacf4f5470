"""Where the config files are, and which options they offer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gradcli.errors import UserError

#: The groups from which a config takes one option each.
GROUPS = ("data", "augment", "model", "activation", "init", "optimizer", "schedule", "clip")
#: Those that came later, with the option that holds, in effect, for configs from before.
LATER_GROUPS = {"augment": "none"}
#: The groups from which a comparison's config also takes one option each.
COMPARISON_GROUPS = ("protocol", "engine", "search")
#: The group whose options choose those of several others, and the option that chooses none.
EXPERIMENT_GROUP, NO_EXPERIMENT = "experiment", "none"
#: The key of an option's file that gives the ranges in which a search looks.
RANGES = "search"
#: The key under which a config notes the chosen option of each group.
CHOICES = "choices"
#: The groups from which a key takes any number of options: the key, by the group.
LIST_GROUPS = {"recorder": "recorders", "tracker": "track"}


def shipped_configs() -> Path:
    """Return the shipped config folder: inside an installed package, next to it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside, beside = package / "configs", package.parent / "configs"
    return inside if inside.is_dir() else beside


@dataclass(frozen=True)
class ConfigFiles:
    """The shipped config files, and those in the user's own folder.

    Raises:
        UserError: if the user's folder does not exist, or has an option with the name of a
            shipped one: Hydra would silently take the shipped one.
    """

    own: Path | None = None

    def __post_init__(self) -> None:
        if self.own is not None and not self.own.is_dir():
            raise UserError(
                f"{self.own} is not a folder.",
                where="--config-dir",
                hint=f"mkdir -p {self.own}/optimizer",
            )
        for path in sorted(self.own.glob("*/**/*.yaml")) if self.own is not None else ():
            relative = path.relative_to(self.own)  # type: ignore[arg-type]
            if (shipped_configs() / relative).exists():
                group, _, option = relative.with_suffix("").as_posix().partition("/")
                raise UserError(
                    f"{group}={option} is already the name of a shipped option.",
                    where=str(path),
                    hint=f"mv {path} {path.with_name('my_' + path.name)}",
                )

    def options(self, group: str) -> list[str]:
        """Return the names of a group's options, sorted. Those of experiments may be paths."""
        pattern = "**/*.yaml" if group == EXPERIMENT_GROUP else "*.yaml"
        places = [folder / group for folder in self._folders]
        return sorted(
            {
                path.relative_to(place).with_suffix("").as_posix()
                for place in places
                for path in place.glob(pattern)
            }
        )

    def path(self, group: str, option: str) -> Path:
        """Return the file of an option."""
        paths = [folder / group / f"{option}.yaml" for folder in self._folders]
        return next(path for path in paths if path.is_file())

    def display(self, group: str, option: str) -> str:
        """Return the path of an option's file, as shown to the user."""
        relative = f"{group}/{option}.yaml" if group else f"{option}.yaml"
        if self.own is not None and (self.own / relative).is_file():
            return str(self.own / relative)
        return f"configs/{relative}"

    @property
    def _folders(self) -> list[Path]:
        return [shipped_configs(), *([self.own] if self.own else [])]
