"""What other systems than this one lack is not imported before it is needed."""

POSIX_ONLY = """
import importlib, pkgutil, sys
for name in ("fcntl", "grp", "pty", "resource", "termios", "tty"):
    sys.modules[name] = None
import gradcli
for one in pkgutil.walk_packages(gradcli.__path__, "gradcli."):
    if not one.name.endswith("__main__"):
        importlib.import_module(one.name)
print("imported")
"""


def test_every_module_can_be_imported_without_what_only_posix_has(spawn):
    answer = spawn("-c", POSIX_ONLY)
    assert answer.out == "imported\n", answer.err
