"""The evaluations of a run as they are written, against the reader of whole logs."""

import pytest

from gradcli.records import EvalRecord
from gradcli.runs import RunWriter, load_run
from gradcli.runs.logs.log_blocks import EVALS_FILE
from gradcli.runs.watching.eval_tail import EvalTail


def evaluation(step, split="val"):
    return EvalRecord(step, 1, split, 0.5 / step, 0.9, 0.6, 1.0, 1.0)


@pytest.fixture
def writer(tmp_path, run_info):
    writer = RunWriter(tmp_path, "", {})
    writer.begin(run_info, {})
    yield writer
    writer.close()


def test_it_reads_what_is_new(tmp_path, writer):
    tail = EvalTail(tmp_path)
    assert not tail.look()
    assert tail.of("val") == []
    for step in (1, 2, 3):
        writer.write(evaluation(step))
        writer.write(evaluation(step, "test"))
        assert tail.look()
        assert not tail.look()
    evals = load_run(tmp_path).evals
    assert tail.of("val") == [one for one in evals if one.split == "val"]
    assert tail.of("test") == [one for one in evals if one.split == "test"]


def test_of_very_many_it_keeps_few_and_the_last(tmp_path, writer):
    tail = EvalTail(tmp_path, most=8)
    for step in range(1, 101):
        writer.write(evaluation(step))
        tail.look()
        assert len(tail.of("val")) <= 8
        assert tail.of("val")[-1].step == step
    steps = [one.step for one in tail.of("val")]
    assert steps == sorted(set(steps))
    assert steps[0] == 1


def test_a_torn_line_counts_once_it_is_whole(tmp_path, writer):
    writer.write(evaluation(1))
    tail = EvalTail(tmp_path)
    tail.look()
    path = tmp_path / EVALS_FILE
    line = path.read_bytes()
    with path.open("ab") as file:
        file.write(line[:20])
    tail.look()
    assert len(tail.of("val")) == 1
    with path.open("ab") as file:
        file.write(line[20:])
    assert tail.look()
    assert len(tail.of("val")) == 2


def test_what_is_damaged_is_left_out_and_what_was_cut_is_read_anew(tmp_path, writer):
    writer.write(evaluation(1))
    path = tmp_path / EVALS_FILE
    with path.open("ab") as file:
        file.write(b"no line of ours\n" + path.read_bytes())
    tail = EvalTail(tmp_path)
    tail.look()
    assert [one.step for one in tail.of("val")] == [1, 1]
    path.write_bytes(b"")
    tail.look()
    assert tail.of("val") == []
    path.unlink()
    assert not tail.look()
