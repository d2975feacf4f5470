"""`gradcli report`: which runs it takes, where it writes, and what it refuses."""

import json
import re

import pytest

import gradcli as package
from gradcli import load_run

SMALL = ("data=mnist5k", "model.hidden=[8]", "batch_size=500")
TINY = (*SMALL, "max_steps=4")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("report")
    package.train(*TINY, name="sgd-1", optimizer="sgd", runs_dir=home)
    package.train(*TINY, name="sgd-2", optimizer="sgd", lr=0.01, runs_dir=home)
    words = (*TINY, "protocol.tune=false", "name=arms")
    package.compare(*words, optimizers=["sgd", "adam"], seeds=2, jobs=1, runs_dir=home)
    return home


@pytest.fixture
def report(made, gradcli):
    return lambda *words: gradcli("report", *words, "--runs-dir", str(made))


def test_by_default_it_is_written_beside_what_it_is_about(report, made):
    answer = report("sgd-1")
    (path,) = made.glob("*-sgd-1-*/report.html")
    assert (answer.code, answer.out.replace("\n", "")) == (0, str(path))
    assert answer.out.endswith("\n")
    assert not load_run(path.parent).damage
    assert report("sgd-1").code == 0  # an earlier one of gradcli's own is replaced


def test_its_loss_is_the_one_on_record(report, made, tmp_path):
    report("sgd-1", "-o", str(tmp_path / "one.html"))
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'data-for="loss">(.*?)</script>', text)
    drawn = json.loads(data)
    (path,) = made.glob("*-sgd-1-*")
    steps = load_run(path).steps
    at = [drawn["x"].index(step) for step in steps.step.tolist()]
    values = drawn["series"][0]["values"]
    assert [values[place] for place in at] == pytest.approx(steps.loss.tolist(), rel=1e-5)


@pytest.mark.parametrize("words", [("sgd-*",), ("sgd-1", "sgd-2"), ("sgd-2", "sgd-*", "sgd-1")])
def test_several_runs_are_side_by_side_each_once(report, made, words):
    answer = report(*words)
    assert answer.code == 0
    text = (made / "report.html").read_text(encoding="utf-8")
    assert "2 runs side by side" in text
    assert "optimizer.lr" in text  # the setting that differs


def test_a_comparison(report, tmp_path):
    assert report("arms", "-o", str(tmp_path / "arms.html")).code == 0
    text = (tmp_path / "arms.html").read_text(encoding="utf-8")
    for heading in ("Ranking", "What is more than luck", "Curves", "Gradients by arm", "Trials"):
        assert f">{heading}</h2>" in text


def test_a_file_of_the_users_stays_unless_forced(report, tmp_path):
    path = tmp_path / "mine.html"
    path.write_text("mine", encoding="utf-8")
    answer = report("sgd-1", "-o", str(path))
    assert (answer.code, path.read_text(encoding="utf-8")) == (2, "mine")
    assert "--force" in answer.err
    assert report("sgd-1", "-o", str(path), "--force").code == 0
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing-*",), "matches"),
        (("arms", "sgd-1"), "one comparison"),
        (("sgd-1", "-o", "missing/one.html"), "mkdir"),
    ],
)
def test_what_it_refuses(report, words, said):
    answer = report(*words)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_a_run_that_diverged_says_where(gradcli, tmp_path):
    words = ("data=mnist5k", "batch_size=500", "clip=none", "schedule=constant", "epochs=5")
    run = package.train(*words, "optimizer=sgd", lr=1e30, name="wild", runs_dir=tmp_path)
    assert load_run(run.path).status == "diverged"
    assert gradcli("report", "wild", "--runs-dir", str(tmp_path)).code == 0
    text = (run.path / "report.html").read_text(encoding="utf-8")
    assert "not finite: first in" in text
    fault = load_run(run.path).fault
    mark = {"x": fault.step, "text": f"non-finite in {fault.layer}"}
    assert f'"marks":[{json.dumps(mark, separators=(",", ":"))}]' in text
