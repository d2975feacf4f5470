import io
import math
from dataclasses import replace

import pytest

from gradcli.records import EvalRecord, FaultRecord
from gradcli.views.train.epoch_lines import PlainView


class Stream(io.StringIO):
    """Remembers what had been written when it was last flushed."""

    flushed = ""

    def flush(self) -> None:
        self.flushed = self.getvalue()


@pytest.fixture
def stream():
    return Stream()


def evaluation(step: int, epoch: int) -> EvalRecord:
    return EvalRecord(step, epoch, "val", 0.3, 0.9 + epoch / 100, 0.2, 1.5 * epoch, 1.0)


def test_one_line_an_epoch_flushed_and_without_control_codes(
    stream, make_info, make_steps, make_summary
):
    view = PlainView(stream)
    view.begin(make_info(), "runs/one", {})
    for epoch in (1, 2, 3):
        view.record(make_steps([[3.0, 4.0, 0.0]] * 50, first=100 * epoch - 99, epoch=epoch))
        view.record(make_steps([[3.0, 4.0, 0.0]] * 50, first=100 * epoch - 49, epoch=epoch))
        view.record(evaluation(100 * epoch, epoch))
        assert stream.flushed == stream.getvalue()
    view.finish(make_summary())
    view.close()
    start, *epochs = stream.getvalue().splitlines()
    assert "mnist" in start
    assert [line[:9] for line in epochs] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert "val accuracy 0.9200" in epochs[1]
    assert "step 200/300" in epochs[1]
    assert "grad norm 5.00" in epochs[1]
    assert stream.getvalue().replace("\n", "").isprintable()


def test_means_are_over_the_epoch_whatever_the_blocks(stream, make_info, make_steps, make_summary):
    view = PlainView(stream)
    view.begin(make_info(1), "runs/one", {})
    view.record(
        make_steps([[1.0], [3.0], [10.0]], loss=[1.0, 2.0, 6.0], epoch=[1, 1, 2], coefficient=0.5)
    )
    view.record(make_steps([[20.0]], first=4, loss=8.0, epoch=2))
    view.finish(make_summary())
    _, first, second = stream.getvalue().splitlines()
    assert "train loss 1.5000  grad norm 2.00  largest 3.00  clipped 100%" in first
    assert "train loss 7.0000  grad norm 15.0  largest 20.0  clipped 50%" in second


def test_a_planted_nan_is_in_the_line(stream, make_info, make_steps):
    view = PlainView(stream)
    view.begin(make_info(1), "runs/one", {})
    view.record(make_steps([[1.0], [math.nan], [2.0]], loss=[1.0, math.nan, 1.0]))
    view.record(evaluation(3, 1))
    line = stream.getvalue().splitlines()[-1]
    assert "grad norm nan  largest nan" in line


def test_a_fault_ends_the_log_with_a_sentence(stream, make_info, make_steps, make_summary):
    view = PlainView(stream)
    view.begin(make_info(1), "runs/one", {})
    view.record(make_steps([[1.0]]))
    view.record(FaultRecord(2, 1, "loss", None, math.nan, (1,)))
    view.finish(make_summary(status="diverged"))
    *_, epoch, fault = stream.getvalue().splitlines()
    assert epoch.startswith("epoch 1/3")
    assert "the loss" in fault
    assert "step 2" in fault


def test_a_download_is_one_line_a_file(stream):
    view = PlainView(stream)
    for done in range(0, 100):
        view.download(done, 9_900_000, "train-images.gz")
    view.download(0, 0, "labels.gz")
    assert stream.getvalue().splitlines() == [
        "downloading train-images.gz (9.9 MB)",
        "downloading labels.gz",
    ]


def test_the_data_are_described_once(stream, make_info):
    info = make_info()
    view = PlainView(stream)
    view.note("a note")
    view.begin(info, "runs/one", {})
    assert stream.getvalue().splitlines()[0] == "a note"
    assert len(stream.getvalue().splitlines()) == 2


def test_each_parameter_group_has_a_short_line(stream, make_info, groups):
    long = replace(groups[1], parameters=tuple(f"block{at}.weight" for at in range(40)))
    view = PlainView(stream)
    view.begin(make_info(groups=(groups[0], long)), "runs/one", {})
    _, matrices, rest = stream.getvalue().splitlines()
    assert matrices == "matrices: Muon 0.02, 1 parameter: hidden1.weight"
    assert rest.startswith("rest: AdamW 0.002, 40 parameters: block0.weight, block1.weight")
    assert len(rest) <= 100
