"""The code and the configs that travel to the nodes of a cluster.

gradcli travels as Ray's runtime environment, so that every node runs this very code. The user's
config folder and the modules that `--allow-import` names travel with each actor. What is installed
is not sent, and neither is a file that is named by its path: every node must have those.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradcli
from gradcli.errors import UserError

_MOST_BYTES = 100_000_000
_CACHE = "__pycache__"


def copy_gradcli(folder: Path) -> Path:
    """Copy the package of gradcli into a folder, with its configs inside, and return its path."""
    from gradcli.config.config_files import shipped_configs  # no node needs Hydra for this module

    copy = folder / "gradcli"
    package, configs = Path(gradcli.__file__).parent, shipped_configs()
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns(_CACHE, "configs"))
    shutil.copytree(configs, copy / "configs")
    return copy


@dataclass(frozen=True)
class ShippedCode:
    """What the user has written, as it travels.

    `files` are contents by their path below the folder that they are unpacked in; `origins` are the
    places here of what is at such a path; `search_path` is where this process looks for modules,
    apart from what is installed.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    search_path: Sequence[str] = ()

    def unpack(self, folder: Path) -> None:
        """Write the files into a folder."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def named_as_here(self, message: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Return a message of a node in which the files are named as they are on this machine."""
        text = json.dumps(message)
        for name, origin in self.origins.items():
            text = text.replace(json.dumps(str(folder / name))[1:-1], json.dumps(origin)[1:-1])
        renamed: dict[str, Any] = json.loads(text)
        return renamed


#: The folders below that in which the code is unpacked.
MODULES, CONFIGS = "modules", "configs"


def pack(config_dir: str | None, allow_import: Sequence[str], cwd: Path) -> ShippedCode:
    """Read what the user has written.

    Args:
        config_dir: the user's own config folder, if there is one.
        allow_import: the packages that configs may use.
        cwd: where modules are looked for last.

    Raises:
        UserError: if it is too much to send.
    """
    files: dict[str, bytes] = {}
    origins: dict[str, str] = {}
    for name in {one.partition(".")[0] for one in allow_import if not one.endswith(".py")}:
        for place in _places(name, cwd):
            origins[f"{MODULES}/{place.name}"] = str(place)
            files |= _read(place, f"{MODULES}/{place.name}", "*")
    if config_dir is not None:
        origins[CONFIGS] = config_dir
        files |= _read(Path(config_dir), CONFIGS, "*.yaml")
    size = sum(map(len, files.values()))
    if size > _MOST_BYTES:
        raise UserError(
            f"{' and '.join(origins.values())} hold {size / 1e6:,.0f} MB. At most "
            f"{_MOST_BYTES / 1e6:,.0f} MB travel to the nodes of a cluster.",
            where="--allow-import, --config-dir",
            hint="install the package on every node",
        )
    path = [one for one in sys.path if one and not _is_installed(Path(one))]
    return ShippedCode(files, origins, path)


def _places(name: str, cwd: Path) -> Iterator[Path]:
    """Yield the file or the folders of a module of the user's own; nothing if it is installed."""
    found = importlib.util.find_spec(name)
    found = found or importlib.machinery.PathFinder.find_spec(name, [str(cwd)])
    if found is None:
        return  # whoever imports it says so
    places = list(found.submodule_search_locations or [])
    if not places and found.has_location and found.origin:
        places = [found.origin]
    yield from (Path(one) for one in places if not _is_installed(Path(one)))


def _read(place: Path, name: str, pattern: str) -> dict[str, bytes]:
    if place.is_file():
        return {name: place.read_bytes()}
    return {
        f"{name}/{path.relative_to(place).as_posix()}": path.read_bytes()
        for path in sorted(place.rglob(pattern))
        if path.is_file() and _CACHE not in path.parts
    }


def _is_installed(path: Path) -> bool:
    """Whether a path is in the folders of the interpreter, where every node has its own."""
    folders = sysconfig.get_paths()
    own = {folders[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(path.is_relative_to(folder) for folder in own) or path.suffix == ".zip"
