"""Runs made up of plain records, so that no view needs a training to be tested."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from gradcli.comparison.live import ArmProgress, ComparisonProgress, GridCell, RunningTrial
from gradcli.comparison.results import (
    ArmInfo,
    ComparisonInfo,
    ComparisonSummary,
    GridResult,
    ProtocolInfo,
    RankedArm,
    TrialResult,
)
from gradcli.comparison.verdicts import LearningRateSensitivity, PairResult, Selection, Summary
from gradcli.inspection.inspection import (
    Convergence,
    Inspection,
    LayerReport,
    NormHistory,
    ProbeResults,
    Trend,
)
from gradcli.probes.measuring.slope import LogSlope
from gradcli.records import (
    PHASES,
    DataInfo,
    Finding,
    GroupInfo,
    LayerInfo,
    LayerSummary,
    NormSummary,
    ParameterInfo,
    RunInfo,
    StepRecords,
    TrainSummary,
)


@pytest.fixture
def make_info() -> Callable[..., RunInfo]:
    def make(layers: int = 3, **changes: object) -> RunInfo:
        names = [f"hidden{depth + 1}" for depth in range(layers - 1)] + ["output"]
        values: dict[str, object] = {
            "run": "20260105-101500-mlp-3f2a",
            "name": "mlp",
            "data": DataInfo("mnist", 50_000, 10_000, 10_000, "ab" * 32, (1, 28, 28), 10),
            "model": "mlp",
            "model_size": 235_146,
            "optimizer": "adam",
            "learning_rate": 0.002,
            "schedule": "cosine",
            "clip": "norm 1.0",
            "activation": "relu",
            "device": "cpu",
            "threads": 2,
            "batch_size": 128,
            "epochs": 3,
            "total_steps": 300,
            "start_step": 0,
            "layers": tuple(
                LayerInfo(
                    name,
                    "Linear",
                    depth,
                    (
                        ParameterInfo(f"{name}.weight", (128, 256)),
                        ParameterInfo(f"{name}.bias", (128,)),
                    ),
                )
                for depth, name in enumerate(names)
            ),
        }
        return RunInfo(**(values | changes))

    return make


@pytest.fixture
def groups() -> tuple[GroupInfo, ...]:
    """Two parameter groups of the model of `make_info`, each of its own class."""
    return (
        GroupInfo("matrices", "torch.optim.Muon", {"lr": 0.02}, 0.02, ("hidden1.weight",)),
        GroupInfo(
            *("rest", "torch.optim.AdamW", {"lr": 0.002}, 0.002),
            ("hidden1.bias", "output.weight", "output.bias"),
        ),
    )


@pytest.fixture
def make_steps() -> Callable[..., StepRecords]:
    """Build steps from the layers' norms (n, layers); all of a norm is its weight's."""

    def make(
        norms: object,
        *,
        first: int = 1,
        coefficient: float = 1.0,
        loss: object = 1.0,
        epoch: object = 1,
    ) -> StepRecords:
        by_layer = np.asarray(norms, dtype=np.float64)
        count, layers = by_layer.shape
        parameters = np.zeros((count, 2 * layers))
        parameters[:, ::2] = by_layer
        return StepRecords(
            step=np.arange(first, first + count),
            epoch=np.broadcast_to(np.asarray(epoch), count),
            loss=np.broadcast_to(np.asarray(loss, dtype=np.float32), count),
            learning_rate=np.full(count, 0.002),
            grad_norm_before_clip=np.linalg.norm(by_layer, axis=1),
            clip_coefficient=np.full(count, coefficient),
            parameter_grad_norm_before_clip=parameters.astype(np.float32),
            parameter_grad_norm_after_clip=(parameters * coefficient).astype(np.float32),
            phase_seconds=dict(zip(PHASES, (1, 3, 1, 4, 2, 1), strict=True)),
        )

    return make


@pytest.fixture
def make_summary(make_info: Callable[..., RunInfo]) -> Callable[..., TrainSummary]:
    def make(**changes: object) -> TrainSummary:
        info = make_info()
        norms = NormSummary(first=1.0, last=0.25, mean=0.5, max=2.0)
        values: dict[str, object] = {
            "info": info,
            "path": f"runs/{info.run}",
            "status": "finished",
            "epochs": 3,
            "steps": 300,
            "train_loss": 0.0412,
            "val_score": 0.9803,
            "test_score": 0.9791,
            "seconds_total": 4.4,
            "seconds_first_step": 2.1,
            "seconds_train": 3.2,
            "steps_per_second": 93.75,
            "phases": dict(zip(PHASES, (0.05, 0.25, 0.05, 0.4, 0.2, 0.05), strict=True)),
            "clipped_fraction": 0.34,
            "layers": tuple(
                LayerSummary(layer.name, norms, norms, 0.3, 20.0, 0.002) for layer in info.layers
            ),
            "findings": (),
        }
        return TrainSummary(**(values | changes))

    return make


# Comparisons ---------------------------------------------------------------------------------

RATES = {
    "adam": (3e-4, 1e-3, 2e-3, 5e-3, 1e-2),
    "rmsprop": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    "sgd": (0.05, 0.1, 0.2, 0.5, 1.0),
}
CHOSEN = {"adam": 2e-3, "rmsprop": 1e-3, "sgd": 0.2}
SEEDS = (101, 102, 103)
#: Test accuracies of the arms at `SEEDS`.
SCORES = {
    "adam": (0.9780, 0.9790, 0.9785),
    "rmsprop": (0.9770, 0.9786, 0.9778),
    "sgd": (0.9650, 0.9662, 0.9656),
}

#: The columns of a trial and of an arm, and of those that never reach the target.
MEASURED = {
    "train_loss": 0.0812,
    "steps_to_target": 390.0,
    "seconds_to_target": 1.9,
    "grad_norm": 0.512,
    "clipped_fraction": 0.34,
    "steps_per_second": 205.0,
}
NEVER = {"steps_to_target": math.inf, "seconds_to_target": math.inf}


def score_summary(scores: Sequence[float]) -> Summary:
    """Summarise three scores with the t quantile for two degrees of freedom."""
    mean, std = float(np.mean(scores)), float(np.std(scores, ddof=1))
    half = 4.302653 * std / math.sqrt(3)
    return Summary(len(scores), mean, std, (mean - half, mean + half))


NO_SCORES = Summary(0, math.nan, math.nan, (-math.inf, math.inf))


@pytest.fixture
def make_comparison_info() -> Callable[..., ComparisonInfo]:
    def make(arms: Sequence[str] = tuple(RATES), **changes: object) -> ComparisonInfo:
        values: dict[str, object] = {
            "path": "runs/20260105-101500-compare-77aa",
            "name": "20260105-101500-compare-77aa",
            "data": DataInfo("mnist", 50_000, 10_000, 10_000, "ab" * 32, (1, 28, 28), 10),
            "model": "mlp",
            "model_size": 235_146,
            "activation": "relu",
            "schedule": "cosine",
            "clip": "norm 1.0",
            "batch_size": 128,
            "epochs": 1,
            "steps": 390,
            "protocol": ProtocolInfo("quick", True, (1,), SEEDS, 3, 2, 2, False),
            "target_score": 0.97,
            "arms": tuple(
                ArmInfo(arm, arm.split("#")[0], (), RATES.get(arm, RATES["adam"])) for arm in arms
            ),
            "engine": "local",
            "jobs": 2,
            "device": "cpu",
            "threads": 1,
            "already_done": 0,
        }
        return ComparisonInfo(**(values | changes))

    return make


@pytest.fixture
def make_arm_progress() -> Callable[..., ArmProgress]:
    """Build an arm that is being measured, its best learning rate in the middle of its grid."""

    def make(name: str = "adam", **changes: object) -> ArmProgress:
        rates = RATES.get(name, RATES["adam"])
        accuracies = (0.91, 0.95, 0.975, 0.96, math.nan)
        values: dict[str, object] = {
            "name": name,
            "stage": "measuring",
            "trials_done": 6,
            "trials_total": 8,
            "learning_rate": CHOSEN.get(name, 2e-3),
            "grid": tuple(
                GridCell(rate, "diverged" if math.isnan(accuracy) else "finished", accuracy)
                for rate, accuracy in zip(rates, accuracies, strict=True)
            ),
            "losses": tuple(np.geomspace(2.3, 0.1, 40)),
            "val_score": score_summary(SCORES["adam"]),
            "test_score": score_summary(SCORES.get(name, SCORES["adam"])),
            "grad_norm": 0.512,
            "grad_norms": tuple(np.geomspace(4, 0.5, 40)),
            "clipped_fraction": 0.34,
            "steps_to_target": 780.0,
            "steps_per_second": 812.0,
            "seconds_left": 9.0,
            "diverged": 1,
            "failed": 0,
            "leads": False,
        }
        return ArmProgress(**(values | changes))

    return make


@pytest.fixture
def fresh_arm(make_arm_progress) -> Callable[..., ArmProgress]:
    """Build an arm of which nothing has begun."""

    def make(name: str = "adam") -> ArmProgress:
        return make_arm_progress(
            name,
            stage="waiting",
            trials_done=0,
            learning_rate=math.nan,
            grid=tuple(GridCell(rate, "waiting", math.nan) for rate in RATES.get(name, (0.1,))),
            losses=(),
            val_score=NO_SCORES,
            test_score=NO_SCORES,
            grad_norm=math.nan,
            grad_norms=(),
            clipped_fraction=math.nan,
            steps_to_target=math.nan,
            steps_per_second=math.nan,
            seconds_left=math.nan,
            diverged=0,
        )

    return make


@pytest.fixture
def make_progress(make_arm_progress) -> Callable[..., ComparisonProgress]:
    def make(arms: Sequence[ArmProgress] = (), **changes: object) -> ComparisonProgress:
        values: dict[str, object] = {
            "arms": tuple(arms) or tuple(make_arm_progress(name) for name in RATES),
            "running": (
                RunningTrial("a1", "sgd", 0.2, 102, "measuring", 195, 390, 1.2, 1.3),
                RunningTrial("b2", "rmsprop", 1e-3, 103, "measuring", 39, 390, 0.3, math.nan),
            ),
            "trials_done": 18,
            "trials_total": 24,
            "seconds_elapsed": 30.0,
            "seconds_left": 10.0,
            "target_score": 0.97,
        }
        return ComparisonProgress(**(values | changes))

    return make


@pytest.fixture
def make_trial() -> Callable[..., TrialResult]:
    def make(**changes: object) -> TrialResult:
        values: dict[str, object] = {
            "id": "0f3c",
            "arm": "adam",
            "optimizer": "adam",
            "learning_rate": 2e-3,
            "seed": 101,
            "stage": "measuring",
            "status": "finished",
            "run": "runs/20260105-101500-compare-77aa/trials/0f3c",
            "steps": 390,
            "val_score": 0.9777,
            "test_score": 0.9780,
            "measured": MEASURED,
            "seconds": 2.4,
            "error": "",
        }
        return TrialResult(**(values | changes))

    return make


@pytest.fixture
def make_comparison(make_comparison_info, make_trial) -> Callable[..., ComparisonSummary]:
    """Build a comparison of adam, rmsprop and sgd that has come to its end."""

    def arm(rank: int, name: str) -> RankedArm:
        scores = score_summary(SCORES[name])
        return RankedArm(
            rank=rank,
            places=(3, 3) if name == "sgd" else (1, 2),
            name=name,
            optimizer=name,
            learning_rate=CHOSEN[name],
            seeds=SEEDS,
            test_score=scores,
            val_score=scores,
            measured=MEASURED | NEVER if name == "sgd" else MEASURED,
            diverged=0,
            missing=0,
            learning_rate_at_edge=False,
            selection=Selection(name, scores.mean + 0.002, scores),
            sensitivity=LearningRateSensitivity(CHOSEN[name], CHOSEN[name] / 2, 5e-3, False, False),
        )

    def pair(a: str, b: str, verdict: str, needed: int | None) -> PairResult:
        differences = score_summary(np.subtract(SCORES[a], SCORES[b]))
        low, high = differences.ci95
        return PairResult(
            a=a,
            b=b,
            seeds=3,
            difference=differences.mean,
            deviation=differences.std,
            ci95=(low, high),
            holm_interval=(low - 0.0002, high + 0.0002),
            p_adjusted=0.12 if verdict == "tie" else 0.0021,
            verdict=verdict,
            evidence="scores",
            seeds_needed=needed,
        )

    def make(**changes: object) -> ComparisonSummary:
        info = make_comparison_info()
        values: dict[str, object] = {
            "info": info,
            "status": "finished",
            "ranking": tuple(arm(rank, name) for rank, name in enumerate(SCORES, 1)),
            "pairs": (
                pair("adam", "rmsprop", "tie", 7),
                pair("adam", "sgd", "a", None),
                pair("rmsprop", "sgd", "a", None),
            ),
            "warnings": (),
            "tuning": tuple(
                GridResult(
                    arm=name,
                    optimizer=name,
                    learning_rate=rate,
                    val_score=math.nan if rate == 1.0 else 0.97 - 0.01 * abs(index - 2),
                    status="diverged" if rate == 1.0 else "finished",
                    diverged=int(rate == 1.0),
                    chosen=rate == CHOSEN[name],
                )
                for name in SCORES
                for index, rate in enumerate(RATES[name])
            ),
            "trials": tuple(
                make_trial(arm=name, optimizer=name, seed=seed, test_score=score)
                for name, scores in SCORES.items()
                for seed, score in zip(SEEDS, scores, strict=True)
            ),
            "failed": 0,
            "halving": None,
            "seconds": 52.0,
            "winner_command": "gradcli train optimizer=adam optimizer.lr=0.002 seed=101 threads=1",
            "extend_command": "",
            "retry_command": "",
            "resume_command": "",
        }
        return ComparisonSummary(**(values | changes))

    return make


# Inspections ---------------------------------------------------------------------------------

UNMEASURED = math.nan


@pytest.fixture
def make_layer_report() -> Callable[..., LayerReport]:
    def make(name: str = "hidden1", **changes: object) -> LayerReport:
        values: dict[str, object] = {
            "name": name,
            "kind": "Linear",
            "depth": 0,
            "shape": (128, 256),
            "weight_grad_norm": 0.25,
            "input_grad_norm": 0.125,
            "weight_rms": 0.03,
            "update_ratio": 0.002,
            "dead_fraction": UNMEASURED,
            "saturated_fraction": UNMEASURED,
        }
        return LayerReport(**(values | changes))

    return make


@pytest.fixture
def make_history() -> Callable[..., NormHistory]:
    """Build the history of layers' norms (L, t), ten steps a bin."""

    def make(norms: object) -> NormHistory:
        by_layer = np.asarray(norms, dtype=np.float64)
        bins = by_layer.shape[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            return NormHistory(
                first_step=np.arange(bins) * 10 + 1,
                last_step=np.arange(bins) * 10 + 10,
                log10_norm=np.log10(by_layer),
                log10_total_norm=np.log10(np.linalg.norm(by_layer, axis=0)),
                loss=np.geomspace(2.3, 0.1, bins),
                learning_rate=np.full(bins, 0.002),
                clipped_fraction=np.linspace(0.5, 0.1, bins),
            )

    return make


@pytest.fixture
def make_inspection(make_layer_report) -> Callable[..., Inspection]:
    """Build the inspection of a fresh MLP whose gradient gets 10x smaller per layer."""

    def make(count: int = 4, **changes: object) -> Inspection:
        names = [f"hidden{depth + 1}" for depth in range(count - 1)] + ["output"]
        values: dict[str, object] = {
            "target": "model=deep_mlp activation=sigmoid",
            "kind": "fresh",
            "label": "",
            "model": "deep_mlp",
            "activation": "sigmoid",
            "optimizer": "adam",
            "learning_rate": 0.002,
            "learning_rates": (0.002,),
            "clip": "norm 1.0",
            "data": "mnist5k 4,000 images",
            "batch_size": 128,
            "status": None,
            "step": 0,
            "verdict": "vanishing",
            "tested": ("vanishing", "exploding", "no-gradient"),
            "not_tested": {"spike": "takes a run", "plateau": "takes a run"},
            "notes": (),
            "loss": 2.3456,
            "examples": 512,
            "layers": tuple(
                make_layer_report(
                    name,
                    depth=depth,
                    weight_grad_norm=10.0 ** (depth - count),
                    input_grad_norm=10.0 ** (depth - count - 1),
                    dead_fraction=0.0,
                    saturated_fraction=0.4,
                )
                for depth, name in enumerate(names)
            ),
            "depth_slope": LogSlope(1.0, 0.99, count),
            "input_depth_slope": LogSlope(1.0, 0.98, count),
            "history": None,
            "convergence": None,
            "events": (),
            "event_counts": {},
            "clipped_fraction": UNMEASURED,
            "probes": ProbeResults(),
            "findings": (
                Finding(
                    "vanishing",
                    "warning",
                    "hidden1",
                    {"factor": 1.2e-4},
                    "below 0.001 of the largest layer's",
                    "Gradients vanish on their way back.",
                    "activation=relu init=kaiming",
                ),
            ),
        }
        return Inspection(**(values | changes))

    return make


@pytest.fixture
def make_run_inspection(make_inspection, make_history, make_layer_report):
    """Build the inspection of a healthy finished run with 60 bins of ten steps."""

    def make(count: int = 3, **changes: object) -> Inspection:
        course = np.geomspace(1.0, 0.1, 60)
        names = [f"hidden{depth + 1}" for depth in range(count - 1)] + ["output"]
        values: dict[str, object] = {
            "target": "runs/20260105-101500-mlp-3f2a",
            "kind": "run",
            "model": "mlp",
            "activation": "relu",
            "status": "finished",
            "step": 600,
            "verdict": "healthy",
            "examples": 0,
            "loss": 0.0412,
            "layers": tuple(
                make_layer_report(
                    name,
                    depth=depth,
                    weight_grad_norm=0.1 / (depth + 1),
                    before_clip=Trend(1.0, 0.1 / (depth + 1), -1.0),
                    after_clip=Trend(0.8, 0.05, -1.2),
                    clipped_fraction=0.34,
                )
                for depth, name in enumerate(names)
            ),
            "history": make_history(np.stack([course / (depth + 1) for depth in range(count)])),
            "convergence": Convergence("falling", 2.3, 0.0412, 0.1, 1.2, 0.12, 0.93),
            "clipped_fraction": 0.34,
            "findings": (Finding("healthy", "info", None, {}, "all rules", "All is well.", None),),
        }
        return make_inspection(count, **(values | changes))

    return make
