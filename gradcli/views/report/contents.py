"""What a report is made of: records and summaries, read before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gradcli.comparison.results import ComparisonSummary, TrialRecords
from gradcli.inspection.inspection import Inspection
from gradcli.records import EvalRecord, LayerRecord, StepRecords, TrainSummary


@dataclass(frozen=True)
class Making:
    """How a run or a comparison came about.

    Args:
        began: when, as text for the reader.
        commands: that make it again, each with what it is for.
        config: the resolved config as YAML; empty if there is none.
        facts: versions, machine, commit and the like, by name, in order.
    """

    began: str
    commands: Sequence[tuple[str, str]] = ()
    config: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunContents:
    """A run: its result, its diagnosis, and what it recorded; arrays may be memory-mapped."""

    summary: TrainSummary
    inspection: Inspection
    steps: StepRecords
    evals: Sequence[EvalRecord]
    layer_records: Sequence[LayerRecord]
    settings: Mapping[str, object]
    """By the keys of overrides; empty if they are not recorded."""
    making: Making


@dataclass(frozen=True)
class ComparisonContents:
    """A comparison: its result, and the records of its trials."""

    summary: ComparisonSummary
    trials: Sequence[TrialRecords]
    making: Making
