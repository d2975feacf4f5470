"""Reading a long run takes little memory in addition to the run itself, and no torch."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from gradcli.inspection.assemble import inspect_run
from gradcli.inspection.run_summary import summarise_run
from gradcli.records import DataInfo, EvalRecord, LayerInfo, ParameterInfo, RunInfo, StepRecords
from gradcli.runs import RunWriter, load_run
from gradcli.runs.export import step_table, write_csv
from gradcli.views.draw.run_figures import Bins, largest_by_bin, layer_norms_by_bin, mean_by_bin

STEPS, LAYERS = 200_000, 8
MEGABYTES_OF_NORMS = STEPS * 2 * LAYERS * 8 / 1e6
"""Those before clipping, all at once as float64: 25.6 MB."""
INFO = RunInfo(
    run="long", name="", data=DataInfo("mnist", 50_000, 10_000, 10_000, "", (1, 28, 28), 10),
    model="mlp", model_size=8, optimizer="adam", learning_rate=0.01, schedule="constant",
    clip="norm 1.0", activation="relu", device="cpu", threads=1, batch_size=128, epochs=1,
    total_steps=STEPS, start_step=0,
    layers=tuple(
        LayerInfo(f"h{i}", "Linear", i, (ParameterInfo(f"h{i}.weight", (4, 4)),
                                         ParameterInfo(f"h{i}.bias", (4,))))
        for i in range(LAYERS)
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A long run, half of whose steps are clipped, and two of which are extreme."""
    writer = RunWriter(tmp_path_factory.mktemp("long"), "seed: 0\n", {})
    writer.begin(INFO, {})
    generator = np.random.default_rng(0)
    for first in range(1, STEPS, 10_000):
        step = np.arange(first, first + 10_000)
        norms = np.exp(generator.normal(0, 0.3, (10_000, 2 * LAYERS)))
        norms[step == 123_456] = 1e6
        norms[step == 150_001] = 0.0
        coefficient = np.where(step % 2, 0.5, 1.0)
        writer.write(
            StepRecords(
                step, np.ones(10_000), 2.3 / step**0.1, np.full(10_000, 0.01),
                np.linalg.norm(norms, axis=1), coefficient, norms,
                norms * coefficient[:, np.newaxis],
            )
        )  # fmt: skip
    writer.write(EvalRecord(STEPS, 1, "val", 0.5, 0.9, 0.6, 1.0, 1.0))
    writer.set_status("finished")
    writer.close()
    return load_run(writer.directory)


def megabytes(make):
    """Return what `make` returns, and the most memory that Python and NumPy held meanwhile."""
    tracemalloc.start()
    try:
        made = make()
        return made, tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_a_summary_reads_a_run_in_blocks(run):
    summary, held = megabytes(lambda: summarise_run(run))
    assert held < MEGABYTES_OF_NORMS / 5
    norms = np.asarray(run.steps.parameter_grad_norm_before_clip, dtype=np.float64)
    last = np.linalg.norm(norms[:, -2:], axis=1)
    found = summary.layers[-1].grad_norm_before_clip
    assert (found.first, found.last) == pytest.approx((last[0], last[-1]))
    assert (found.mean, found.max) == pytest.approx((last.mean(), last.max()))
    assert summary.clipped_fraction == 0.5
    assert summary.layers[0].clipped_fraction == pytest.approx((STEPS / 2 - 1) / STEPS)


def test_an_inspection_reads_a_run_in_blocks(run):
    inspection, held = megabytes(lambda: inspect_run(run, "long"))
    assert held < MEGABYTES_OF_NORMS / 5
    assert [event.step for event in inspection.events if event.kind == "spike"] == [123_456]
    total = run.steps.grad_norm_before_clip[: STEPS // 120].astype(np.float64)
    assert inspection.history.log10_total_norm[0] == pytest.approx(np.log10(np.median(total)))


def test_pictures_are_drawn_from_bins(run):
    steps = run.steps
    bins = Bins.of(steps.step)
    (largest, mean, layers), held = megabytes(
        lambda: (
            largest_by_bin(steps.grad_norm_before_clip, bins),
            mean_by_bin(steps.loss, bins),
            layer_norms_by_bin(steps, run.info, bins),
        )
    )
    assert held < MEGABYTES_OF_NORMS / 10
    assert len(largest) == len(mean) == len(layers) == 600
    assert largest.max() == pytest.approx(1e6 * np.sqrt(2 * LAYERS))
    assert layers.max() == pytest.approx(1e6 * np.sqrt(2))
    weights = np.diff(bins.edges) / STEPS
    assert (mean * weights).sum() == pytest.approx(steps.loss.astype(np.float64).mean())


def test_a_mean_with_something_broken_in_it_is_broken():
    bins = Bins.of(np.arange(1, 1201))
    values = np.ones(1200, dtype=np.float32)
    values[[3, 10, 11]] = [np.nan, np.inf, -np.inf]
    broken = ~np.isfinite(mean_by_bin(values, bins))
    assert np.flatnonzero(broken).tolist() == [1, 5]


def test_an_export_holds_a_block_at_a_time(run, monkeypatch):
    class Lines:
        count = 0

        def write(self, text):
            self.count += text.count("\n")

    monkeypatch.setattr("gradcli.runs.export._ROWS_AT_ONCE", 200)
    lines, part = Lines(), load_run(run.path)
    part.__dict__["steps"] = run.last_steps(2000)
    _, held = megabytes(lambda: write_csv(step_table(part), lines))
    assert lines.count == 2001
    whole = 2000 * len(part.columns(slice(0))) * 32 / 1e6  # a float of Python takes 32 bytes
    assert held < whole / 2


def test_columns_of_some_rows_are_those_rows_of_the_columns(run):
    part = run.columns(slice(100, 200))
    loss, layer = run.steps.loss[100:200], "grad_norm_after_clip/h3"
    assert list(part) == list(run.columns(slice(0)))
    np.testing.assert_array_equal(part["loss"], loss)
    after = run.steps.parameter_grad_norm_after_clip[100:200, 6:8].astype(np.float64)
    np.testing.assert_allclose(part[layer], np.linalg.norm(after, axis=1))


def test_a_run_is_inspected_without_what_takes_long_to_import(run, spawn):
    program = (
        "import sys; from gradcli.__main__ import main\n"
        "try: main()\n"
        "finally: print({name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    answer = spawn("-c", program, "inspect-gradients", str(run.path))
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[2].startswith("a finished run")
    assert "numpy" in answer.err
    assert not [name for name in ("torch", "scipy", "matplotlib") if f"'{name}'" in answer.err]
