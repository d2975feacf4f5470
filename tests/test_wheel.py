"""The wheel: it carries what it needs and nothing else, and works without a checkout."""

import json
import zipfile
from pathlib import Path
from textwrap import dedent

import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(spawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    answer = spawn("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=CHECKOUT)
    assert answer.code == 0, answer.err
    (path,) = folder.glob("*.whl")
    return path


def files_below(folder):
    return {str(path.relative_to(CHECKOUT)) for path in folder.rglob("*") if path.is_file()}


def test_it_carries_code_configs_and_sample_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    carried = {name for name in names if ".dist-info/" not in name}
    code = {name for name in files_below(CHECKOUT / "gradcli") if "__pycache__" not in name}
    configs = {f"gradcli/{name}" for name in files_below(CHECKOUT / "configs")}
    assert carried == code | configs
    assert "gradcli/configs/train.yaml" in carried
    assert "gradcli/data/mnist5k/train-images-idx3-ubyte.gz" in carried
    assert "gradcli/py.typed" in carried
    assert "gradcli/schemas/train.json" in carried
    assert not any("test_" in name or name.startswith("tests/") for name in carried)


def test_it_installs_the_command(wheel):
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "gradcli = gradcli.__main__:main" in archive.read(entry_points).decode()


def test_it_works_in_an_empty_folder(wheel, spawn, tmp_path):
    installed, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(installed)
    script = dedent(
        """
        import json, gradcli
        from gradcli.config import compose_train
        from gradcli.config.config_files import shipped_configs
        from gradcli.data import load_dataset
        composed = compose_train(["data=mnist5k", "optimizer=sgd", "model=cnn"])
        print(json.dumps({
            "package": gradcli.__file__,
            "configs": str(shipped_configs()),
            "optimizer": composed.config.optimizer.target,
            "examples": load_dataset("mnist5k").info.train,
        }))
        """
    )
    answer = spawn("-P", "-c", script, cwd=empty, PYTHONPATH=str(installed))
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == {
        "package": str(installed / "gradcli" / "__init__.py"),
        "configs": str(installed / "gradcli" / "configs"),
        "optimizer": "torch.optim.SGD",
        "examples": 4000,
    }
    assert list(empty.iterdir()) == []


def test_its_index_is_what_hydra_composes_from_its_configs(wheel, spawn, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    script = dedent(
        """
        from gradcli.config import compose_train
        from gradcli.config.config_files import shipped_configs
        from gradcli.config.index import key_index
        from gradcli.config.index.indexing import index_text
        from gradcli.config.index.key_index import INDEX_FILE
        plain = compose_train(["optimizer=sgd", "model=cnn"]).plain
        for group, option in (("optimizer", "sgd"), ("model", "cnn")):
            keys = {key: one for key, one in plain[group].items() if key != "_target_"}
            assert key_index().groups[group][option].keys == keys
        assert INDEX_FILE.read_text(encoding="utf-8") == index_text()
        print(shipped_configs())
        """
    )
    answer = spawn("-P", "-c", script, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert answer.code == 0, f"{answer.err} (python -m gradcli.config.index.indexing writes it)"
    assert answer.out.strip() == str(tmp_path / "gradcli" / "configs")
