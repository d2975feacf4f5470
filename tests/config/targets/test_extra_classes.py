"""Classes of the libraries in the extra `optimizers`: which are allowed, what is said without."""

import importlib.util
import sys

import pytest

from gradcli.config import compose_train
from gradcli.config.targets import SHIPPED_CLASSES
from gradcli.errors import UserError

#: An option for each library.
OPTIONS = {"lion": "pytorch_optimizer", "schedule_free_sgd": "schedulefree"}


@pytest.mark.parametrize("option", OPTIONS)
def test_without_the_library_the_line_that_installs_it_is_given(monkeypatch, gradcli, option):
    monkeypatch.setitem(sys.modules, OPTIONS[option], None)
    answer = gradcli("train", "data=mnist5k", f"optimizer={option}")
    assert answer.code == 2
    assert "This optimizer needs" in answer.err
    assert "pip install 'gradcli[optimizers]'" in answer.err
    assert "Traceback" not in answer.err


def test_nothing_else_of_these_libraries_is_allowed(tmp_path):
    (tmp_path / "optimizer").mkdir()
    for target in ("pytorch_optimizer.Fromage", "pytorch_optimizer.optimizer.lion.Lion"):
        (tmp_path / "optimizer" / "mine.yaml").write_text(f"_target_: {target}\n")
        with pytest.raises(UserError, match="not in a package that configs may use") as caught:
            compose_train(["optimizer=mine"], config_dir=tmp_path)
        assert "--allow-import pytorch_optimizer" in caught.value.hint


@pytest.mark.parametrize("target", SHIPPED_CLASSES)
def test_each_class_exists_in_the_library(target):
    module, _, name = target.rpartition(".")
    assert hasattr(pytest.importorskip(module), name)


@pytest.mark.skipif(
    importlib.util.find_spec("schedulefree") is not None, reason="the library comes first"
)
def test_a_file_of_that_name_in_the_working_directory_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "schedulefree.py").write_text("raise SystemExit('it ran')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="This optimizer needs schedulefree"):
        compose_train(["optimizer=schedule_free_sgd"])
