"""The locked packages have hashes, and the versions of `constraints.txt`; private parts a bound."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-torch.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

#: Names with an underscore that gradcli uses and does not define, by the package that does.
PRIVATE = {
    "torch": {
        *("_BatchNorm", "_C", "_ConvNd", "_NormBase", "_base", "_cdata", "_schema", "_version"),
        *("_buffers", "_modules", "_orig_mod", "_compile", "_compiled_call_impl"),
        *("_current_graph_task_id", "_forward_cls", "_input_metadata", "_saved_exponent"),
        *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
        *("_global_forward_hooks", "_global_forward_pre_hooks", "_post_accumulate_grad_hooks"),
        *("_global_backward_hooks", "_global_backward_pre_hooks", "_profiler_enabled"),
        *("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks", "_step_supports_amp_scaling"),
        *("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks"),
        *("_disable_dynamo", "_use_grad_for_differentiable", "_log_softmax_backward_data"),
        *("_foreach_add_", "_foreach_addcdiv_", "_foreach_addcmul_", "_foreach_mul_"),
        *("_foreach_norm", "_foreach_sqrt", "_fused_adam_", "_fused_adamw_", "_fused_sgd_"),
        *("_get_current_dispatch_mode", "_len_torch_dispatch_stack", "_python_dispatch"),
    },
    "python": {"_asdict", "_exit", "_fields"},
}
#: Modules whose documentation promises nothing, though their names have no underscore.
UNDOCUMENTED = {
    "hydra.core": "hydra-core",
    "hydra.version": "hydra-core",
    "rich.file_proxy": "rich",
}
#: Attributes of the same kind.
UNDOCUMENTED_NAMES = {"process_value": "typer", "type_descriptor": "typer"}
#: A bound would replace the PyTorch that somebody's network needs. With a release that was not
#: proven, `gradcli.fast` turns itself off, and the tests of the hooks say what else has changed.
UNBOUNDED = {"torch"}
#: Functions that are given the name of an attribute.
BY_NAME = {"getattr", "hasattr", "attrgetter"}


def entries(lock):
    """The entries of a lock file: name, version, what follows in the line, hashes."""
    text = (ROOT / lock).read_text()
    found = re.findall(r"^([^\s=#]+)==(\S+)(.*)\n((?:    .*\n)*)", text, re.MULTILINE)
    assert len(found) == sum(line[0] not in "# " for line in text.splitlines())
    return found


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    return {plain(name): version for name, version in (line.split("==") for line in lines)}


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def only_on_some_systems(marker):
    return "sys_platform" in marker


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock):
    for name, _, _, hashes in entries(lock):
        lines = hashes.splitlines()
        assert lines, name
        assert all(re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?", one) for one in lines)


@pytest.mark.parametrize("lock", LOCKS)
def test_locked_versions_are_those_that_were_tested(lock):
    tested = constraints()
    for name, version, marker, _ in entries(lock):
        if name in tested or not only_on_some_systems(marker):
            assert version == tested.get(name), name


def test_everything_that_is_asked_for_is_locked():
    asked = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
    locked = {name for lock in LOCKS for name, *_ in entries(lock)}
    assert {plain(re.match(r"[\w-]+", one).group()) for one in asked} <= locked


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_server(lock):
    assert not re.search(r"://|--(extra-)?index|--find-links|@", (ROOT / lock).read_text())


def test_torch_and_cuda_have_a_lock_of_their_own():
    from lock import locks

    texts = locks("numpy==2 \\\n    --hash=1\ntorch==2 \\\n    --hash=2\ntorchmetrics==1\n")
    assert texts["requirements.lock"].splitlines()[1:] == [
        "numpy==2 \\",
        "    --hash=1",
        "torchmetrics==1",
    ]
    assert texts["requirements-torch.lock"].splitlines()[1:] == ["torch==2 \\", "    --hash=2"]


def is_private(name):
    return name.startswith("_") and not name.endswith("__") and name != "_"


def used_names(tree):
    """The attributes, imported names and parts of modules that a file uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not is_own(node.value):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("gradcli"):
            yield from (node.module or "").split(".")
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.Import):
            yield from (part for one in node.names for part in one.name.split("."))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in BY_NAME:
            yield from (str(one.value) for one in node.args if isinstance(one, ast.Constant))


def is_own(value):
    """Whether an attribute is one of gradcli's own object: `self`, its class or its parent."""
    return ast.unparse(value) in ("self", "cls", "super()")


def imported_modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{one.name}" for one in node.names)


TREES = [ast.parse(path.read_text()) for path in sorted((ROOT / "gradcli").rglob("*.py"))]
NAMES = {name for tree in TREES for name in used_names(tree)}
MODULES = {module for tree in TREES for module in imported_modules(tree)}


def test_private_parts_that_are_used_are_listed():
    """If this fails, add the name to `PRIVATE`, and give its package an upper bound."""
    listed = set().union(*PRIVATE.values())
    assert {name for name in NAMES if is_private(name)} == listed


def test_a_package_whose_private_parts_are_used_has_an_upper_bound():
    packages = {*PRIVATE} - {"python"}
    for undocumented, package in UNDOCUMENTED.items():
        assert any(f"{one}.".startswith(f"{undocumented}.") for one in MODULES), undocumented
        packages.add(package)
    for name, package in UNDOCUMENTED_NAMES.items():
        assert name in NAMES, name
        packages.add(package)
    bounds = {re.match(r"[\w-]+", one).group(): one for one in PROJECT["dependencies"]}
    assert packages == {"torch", "hydra-core", "rich", "typer"}
    for package in packages - UNBOUNDED:
        assert re.search(r",<\d", bounds[package]), bounds[package]


def test_the_tested_versions_are_within_the_bounds():
    tested = constraints()
    for one in PROJECT["dependencies"]:
        name = plain(re.match(r"[\w-]+", one).group())
        for sign, bound in re.findall(r"(>=|<)([\d.]+)", one):
            inside = numbers(tested[name]) >= numbers(bound)
            assert inside == (sign == ">="), one


def numbers(version):
    return [int(part) for part in version.split(".")]
