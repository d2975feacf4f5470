"""Before a Ray cluster has work: what it has room for, what travels, and what is refused."""

import socket
import sys
import threading
from contextlib import closing, contextmanager

import pytest

from gradcli.config import compose_comparison
from gradcli.engines.ray_cluster import joining
from gradcli.engines.ray_cluster.actors import Each
from gradcli.engines.ray_cluster.ray_engine import RayEngine
from gradcli.engines.ray_cluster.shipped_code import CONFIGS, MODULES, copy_gradcli, pack
from gradcli.errors import UserError

NOBODY = "127.0.0.1:9"


@pytest.mark.parametrize(
    ("each", "resources", "room"),
    [
        ({"cpus": 1}, {"CPU": 4.0}, 4),
        ({"cpus": 0.1}, {"CPU": 1.0}, 10),
        ({"cpus": 3}, {"CPU": 4.0, "memory": 1e12}, 1),
        ({"cpus": 1, "memory": 2}, {"CPU": 8.0, "memory": 5e9}, 2),
        ({"cpus": 1, "gpus": 1}, {"CPU": 8.0}, 0),
        ({"cpus": 1, "gpus": 0.4}, {"CPU": 8.0, "GPU": 3.0}, 6),  # two on each
        ({"cpus": 1, "gpus": 2}, {"CPU": 8.0, "GPU": 5.0}, 2),
        ({"cpus": 0}, {}, float("inf")),
    ],
)
def test_as_many_trials_fit_on_a_node_as_ray_lets_run(each, resources, room):
    usual = {"gpus": 0, "memory": None, "shared": "auto"}
    assert Each(**{**usual, **each}).room(resources) == room


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"cpus": -1}, "engine.cpus is -1"),
        ({"memory": float("nan")}, "engine.memory is nan"),
        ({"gpus": 1.5}, "a part of one GPU, or whole GPUs"),
    ],
)
def test_what_ray_cannot_reserve_is_refused_before_it_starts(numbers, said, monkeypatch):
    monkeypatch.setattr("gradcli.engines.ray_cluster.ray_engine.WorkerProcess", None)
    with pytest.raises(UserError, match=said):
        RayEngine(**numbers)


def test_without_the_extra_one_panel_says_what_to_type(tmp_path, monkeypatch, gradcli, runs_dir):
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError(\"No module named 'ray'\")\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    answer = gradcli("compare-optimizers", "data=mnist5k", "--engine", "ray", "--no-live")
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err == (
        "error: engine=ray needs Ray, which cannot be imported: No module named 'ray'.\n"
        "  where: engine\n"
        "  try: pip install 'gradcli[ray]'\n"
    )
    assert not runs_dir.exists()


def test_an_address_where_nobody_answers_is_one_panel(gradcli, runs_dir):
    pytest.importorskip("ray")
    words = ("data=mnist5k", "--engine", "ray", f"engine.address={NOBODY}", "--no-live")
    answer = gradcli("compare-optimizers", *words)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err == (
        f"error: No Ray cluster answers at {NOBODY}.\n"
        "  where: engine.address\n"
        "  try: ray start --head, which prints the address; or engine.address=null, for a cluster "
        "on this machine\n"
    )


@contextmanager
def server(answer):
    """Something that listens, and sends an answer to whoever connects."""
    connected = []

    def serve():
        with listener.accept()[0] as one:
            connected.append(one.recv(100))
            one.sendall(answer)
            done.wait(30)

    done = threading.Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            done.set()
            thread.join()


def test_only_a_server_of_grpc_counts_as_an_answer(monkeypatch):
    with server(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))) as address:
        assert joining._answers(address)
        assert not joining._answers(NOBODY)
    with server(b"HTTP/1.1 400 Bad Request\r\n") as address:
        assert not joining._answers(address)
    monkeypatch.setattr(joining, "_SECONDS_TO_ANSWER", 0.1)
    with server(b"") as address:
        assert not joining._answers(address)


@pytest.mark.parametrize("address", ["cluster", "cluster:", "cluster:many", ":"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UserError, match="is not the address") as caught:
        joining._answers(address)
    assert caught.value.where == "engine.address"


def test_a_cluster_is_found_by_the_variable_or_the_file_of_ray(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert joining._running() is None
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.1:6379")
    assert joining._running() == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert joining._running() == "10.0.0.2:6379"


@pytest.mark.parametrize("word", ["engine.jobs=3", "engine.workers=3"])
def test_the_number_of_jobs_is_that_of_the_workers(word):
    engine = compose_comparison(["engine=ray", word]).config.engine
    assert engine.arguments["workers"] == 3


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("engine.workers=0", "engine.workers is 0; it must be 1 or more"),
        ("engine.jobs=-1", "engine.workers is -1"),
        ("engine.shared=perhaps", "engine.shared is 'perhaps'"),
        ("engine.cpuss=1", "There is no key 'engine.cpuss'"),
    ],
)
def test_its_keys_are_checked(word, said):
    with pytest.raises(UserError) as caught:
        compose_comparison(["engine=ray", word])
    assert said in caught.value.problem


@pytest.mark.parametrize("value", ["auto", "true", "false"])
def test_shared_is_auto_or_a_truth(value):
    arguments = compose_comparison(["engine=ray", f"engine.shared={value}"]).config.engine.arguments
    assert arguments["shared"] == {"auto": "auto", "true": True, "false": False}[value]


def test_gradcli_travels_with_its_configs(tmp_path, spawn):
    copy = copy_gradcli(tmp_path)
    code = "import gradcli, gradcli.config.config_files as c; print(gradcli.__file__); "
    code += "print(c.shipped_configs())"
    there = spawn("-P", "-c", code, PYTHONPATH=str(tmp_path))
    assert there.out.split() == [str(copy / "__init__.py"), str(copy / "configs")]


def test_what_the_user_has_written_travels_and_is_named_as_it_was(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "my_package" / "__pycache__").mkdir(parents=True)
    (here / "my_package" / "__init__.py").write_text("one = 1")
    (here / "my_package" / "__pycache__" / "old.pyc").write_text("")
    (here / "my_module.py").write_text("two = 2")
    (here / "not_named.py").write_text("")
    (here / "configs" / "optimizer").mkdir(parents=True)
    (here / "configs" / "optimizer" / "mine.yaml").write_text("lr: 1")
    monkeypatch.syspath_prepend(str(here))
    allowed = ("my_package.part", "my_module", "torch", "no_such_module", str(here / "file.py"))
    code = pack(str(here / "configs"), allowed, cwd=tmp_path)
    code.unpack(there)
    assert {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()} == {
        *(f"{MODULES}/my_package/__init__.py", f"{MODULES}/my_module.py"),
        f"{CONFIGS}/optimizer/mine.yaml",
    }
    said = {"where": f"{there / MODULES / 'my_module.py'}:1", "file": str(there / CONFIGS)}
    assert code.named_as_here(said, there) == {
        "where": f"{here / 'my_module.py'}:1",
        "file": str(here / "configs"),
    }
    assert str(here) in code.search_path
    assert not [path for path in code.search_path if path.startswith(sys.prefix)]


def test_a_module_of_the_working_directory_travels_too(tmp_path):
    (tmp_path / "only_here.py").write_text("one = 1")
    assert pack(None, ["only_here"], cwd=tmp_path).files == {f"{MODULES}/only_here.py": b"one = 1"}


def test_data_does_not_travel_as_code(tmp_path, monkeypatch):
    monkeypatch.setattr("gradcli.engines.ray_cluster.shipped_code._MOST_BYTES", 10)
    (tmp_path / "large.py").write_text("x" * 11)
    with pytest.raises(UserError, match="At most 0 MB travel"):
        pack(None, ["large"], cwd=tmp_path)
