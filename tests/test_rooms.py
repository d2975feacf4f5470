"""The rooms of the package: who may import whom, and which room owns which library."""

import ast
from collections import Counter, defaultdict
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "gradcli"

#: What each room may import, from the ground up. `records` and `errors` are open to all.
MAY_IMPORT = {
    "records": "",
    "errors": "",
    "shorthands": "",
    "system": "",
    "fast": "",
    "notation": "",
    "extras": "",
    # what a training is made of: these know no config, and not each other
    "objectives": "",
    "data": "extras objectives system",
    "models": "extras",
    "optim": "fast",
    "gradients": "fast",
    "tracing": "fast gradients objectives",
    "training": "data fast gradients objectives optim tracing",
    "probes": "gradients notation objectives",
    # what becomes of its records: no tensors, and no way back
    "diagnosis": "notation",
    "runs": "notation system",
    "comparison": "extras notation runs system",
    "config": "comparison data extras gradients models optim probes shorthands system",
    "inspection": "config diagnosis gradients notation objectives probes runs tracing",
    "monitor": "fast gradients inspection notation runs tracing",
    # what the user's own trainers import, by the names of their libraries
    "callbacks": "monitor notation",
    "lightning": "callbacks extras monitor",
    "transformers": "callbacks extras monitor",
    "views": "comparison config diagnosis inspection notation probes system",
    # what joins them
    "workflows": "comparison config data gradients inspection models objectives optim probes "
    "runs system training views",
    "engines": "comparison config data extras fast runs system workflows",
    "api": "comparison config data engines inspection runs shorthands system views workflows",
    "cli": "comparison config engines inspection notation runs shorthands system views workflows",
    "__init__": "api comparison data inspection monitor runs workflows",
    "__main__": "cli",
}
EVERYONES = {"records", "errors"}
#: The modules outside the rooms; everything else has a room.
BARE = {"__init__", "__main__", "errors", "shorthands", "lightning", "transformers"}
#: Those of them that are named after a library, which nothing in the package imports.
OF_A_LIBRARY = {"lightning", "transformers"}
MOST_MODULES_IN_A_FOLDER = 15
#: Folders of siblings, one file each, which may be as many as there are kinds.
SIBLINGS = {"probes"}

#: Libraries that only these rooms import; all others go through them.
OWNER = {
    "hydra": "config",
    "omegaconf": "config",
    "yaml": "config",
    "rich": "views",
    "matplotlib": "notation views",
    "typer": "cli",
    "torchvision": "extras",
    "timm": "models",
    "sklearn": "data",
    "PIL": "data views",
    "pyarrow": "data",
    "platformdirs": "data",
    "scipy": "comparison probes",
    "optuna": "comparison",
    "ray": "engines",
    "lightning": "lightning",
    "pytorch_lightning": "lightning",
    "transformers": "transformers",
    "tqdm": "transformers",
}
#: Libraries that take long to import, so that they wait until a function needs them.
INSIDE_FUNCTIONS = {
    *("PIL", "matplotlib", "optuna", "pyarrow", "ray", "sklearn", "timm", "torchvision"),
}
#: Rooms that never see a tensor. `runs` saves and loads them, inside functions.
WITHOUT_TORCH = {
    *("records", "errors", "shorthands", "system", "views", "comparison", "diagnosis"),
    *("cli", "api", "__init__", "__main__"),
}
#: The same of single modules in rooms that do see tensors.
MODULES_WITHOUT_TORCH = {
    *(
        "gradcli.workflows.compare",
        "gradcli.workflows.inspect",
        "gradcli.workflows.comparing.study",
    ),
    *("gradcli.inspection.assemble", "gradcli.inspection.history"),
    *("gradcli.inspection.inspection", "gradcli.inspection.run_difference"),
    *("gradcli.inspection.run_summary", "gradcli.inspection.measures"),
    *("gradcli.inspection.parting.first_place", "gradcli.inspection.parting.end_weights"),
}
#: Rooms that may write to the terminal.
SPEAKING = {"views", "cli"}


class Import(NamedTuple):
    """That a module imports another one."""

    importer: str
    module: str
    in_function: bool
    for_types: bool


def imports_in(source, importer):
    """Every import in a module, wherever it stands."""
    found = []

    def visit(node, in_function, for_types):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{importer}: relative imports hide which room is meant"
            names = [node.module]
            if node.module == "gradcli":
                names = [f"gradcli.{alias.name}" for alias in node.names]
        else:
            names = []
        found.extend(Import(importer, name, in_function, for_types) for name in names)
        in_function |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            visit(child, in_function, for_types or typing)

    visit(ast.parse(source), False, False)
    return found


def room_of(module):
    """`gradcli.data.idx` is in the room `data`; `gradcli` itself in none."""
    return module.split(".")[1] if module.startswith("gradcli.") else None


def modules():
    """The package's modules by name, `gradcli/__init__.py` as `gradcli.__init__`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


IMPORTS = [one for name, source in modules().items() for one in imports_in(source, name)]


def trespasses(imports):
    """The imports that are not allowed."""
    found = []
    for one in imports:
        here, there = room_of(one.importer), room_of(one.module)
        open_to_it = {here, *MAY_IMPORT[here].split(), *EVERYONES}
        if there is not None and there not in open_to_it:
            found.append(f"{one.importer} imports {one.module}")
    return found


def test_no_two_modules_share_a_name():
    """A command's module and its workflow's do: `cli/train.py` calls `workflows/train.py`."""
    rooms_of = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("__init__.py", "__main__.py"):
            rooms_of[path.stem].add(str(path.parent.relative_to(PACKAGE)))
    shared = {name for name, rooms in rooms_of.items() if len(rooms) > 1}
    assert shared == {"train", "compare", "inspect", "find_lr"}
    assert all(rooms_of[name] == {"cli", "workflows"} for name in shared)


def test_no_two_public_classes_share_a_name():
    homes = defaultdict(list)
    for name, source in modules().items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name)
    shared = {name: where for name, where in homes.items() if len(where) > 1}
    assert shared == {"GradientCallback": [f"gradcli.{one}" for one in sorted(OF_A_LIBRARY)]}


def test_every_room_is_in_the_table():
    assert {room_of(name) for name in modules()} == set(MAY_IMPORT)


def test_no_module_is_outside_the_rooms_unless_start_up_needs_it_or_a_trainer():
    assert {path.stem for path in PACKAGE.glob("*.py")} == BARE


def test_nothing_imports_what_is_named_after_a_library():
    """Importing it imports the library; within it, the library's name is the library's."""
    imported = {one.module for one in IMPORTS}
    assert not imported & {f"gradcli.{name}" for name in OF_A_LIBRARY}
    assert {name.split(".")[0] for name in imported} > OF_A_LIBRARY


def test_no_folder_is_crowded():
    folders = [path.parent for path in PACKAGE.rglob("*.py")]
    crowded = {
        str(folder.relative_to(PACKAGE)): count
        for folder, count in Counter(folders).items()
        if count > MOST_MODULES_IN_A_FOLDER and folder.name not in SIBLINGS
    }
    assert crowded == {}


def test_the_table_has_no_way_round():
    TopologicalSorter({room: may.split() for room, may in MAY_IMPORT.items()}).prepare()


def test_rooms_import_only_what_is_below_them():
    assert trespasses(IMPORTS) == []


def test_the_table_allows_nothing_that_is_not_used():
    used = defaultdict(set)
    for one in IMPORTS:
        used[room_of(one.importer)].add(room_of(one.module))
    unused = {room: set(may.split()) - used[room] for room, may in MAY_IMPORT.items()}
    assert not {room: rooms for room, rooms in unused.items() if rooms}


@pytest.mark.parametrize(
    "source",
    [
        "import gradcli.config",
        "from gradcli import config",
        "from gradcli.config import compose_train",
        "def late():\n    from gradcli.config.schema import Section",
        "class Late:\n    def late(self):\n        import gradcli.workflows.train",
        "if TYPE_CHECKING:\n    from gradcli.views import TrainView",
    ],
)
def test_a_forbidden_import_is_seen_wherever_it_hides(source):
    assert len(trespasses(imports_in(source, "gradcli.models.mlp"))) == 1


def test_a_library_has_one_owner():
    strangers = [
        f"{one.importer} imports {one.module}"
        for one in IMPORTS
        if not one.for_types
        and room_of(one.importer)
        not in OWNER.get(one.module.split(".")[0], room_of(one.importer)).split()
    ]
    assert strangers == []


def test_one_module_imports_torchvision():
    importers = {one.importer for one in IMPORTS if one.module.split(".")[0] == "torchvision"}
    assert importers == {"gradcli.extras.torchvision_import"}


def test_what_takes_long_to_import_waits_for_its_function():
    early = [
        f"{one.importer} imports {one.module}"
        for one in IMPORTS
        if one.module.split(".")[0] in INSIDE_FUNCTIONS and not (one.in_function or one.for_types)
    ]
    assert early == []


def test_rooms_without_tensors_do_not_know_torch():
    torch = [one for one in IMPORTS if one.module.split(".")[0] == "torch"]
    assert torch
    assert not {one.importer for one in torch if room_of(one.importer) in WITHOUT_TORCH}
    assert not {one.importer for one in torch} & MODULES_WITHOUT_TORCH
    assert set(modules()) >= MODULES_WITHOUT_TORCH
    assert all(one.in_function for one in torch if room_of(one.importer) in ("runs", "config"))


def test_only_views_and_commands_speak():
    speakers = {
        name
        for name, source in modules().items()
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Name) and node.id == "print")
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr"))
    }
    assert {room_of(name) for name in speakers} <= SPEAKING
