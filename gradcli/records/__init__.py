"""The plain records that a run is made of, and what takes them in.

Training yields records and hands each one to every `Recorder`: the run directory, the screen,
a tracker. They all agree because they all see the same records. Nothing here knows torch, rich
or the file system.
"""

from gradcli.records.fingerprints import SAMPLES, FingerprintRecord
from gradcli.records.layer_info import LayerInfo, ParameterInfo, layers_in_call_order, norm_by_layer
from gradcli.records.loss_levels import UNKNOWN_LEVELS, LossLevels
from gradcli.records.measurements import (
    DECADES,
    PHASES,
    Doubles,
    FaultRecord,
    Floats,
    Integers,
    LayerRecord,
    ProbeRecord,
    StepRecords,
    was_clipped,
)
from gradcli.records.recorder import Record, Recorder
from gradcli.records.run_info import SMALL_DATA, DataInfo, GroupInfo, RunInfo
from gradcli.records.scores import (
    ACCURACY,
    Direction,
    EvalRecord,
    ExampleScores,
    Metric,
    MetricScores,
    ValidationRecord,
    last_score,
    packed_scores,
    unpacked_scores,
)
from gradcli.records.setup_record import ParameterGroup, SetupRecord, TensorRange
from gradcli.records.step_columns import layer_norm_columns, rows_of, total_columns
from gradcli.records.summaries import (
    ClipOutlook,
    Finding,
    GroupSummary,
    LayerSummary,
    NormSummary,
    PrunedRow,
    PruningSummary,
    RunRow,
    Status,
    TrainSummary,
)

__all__ = [
    "ACCURACY",
    "DECADES",
    "PHASES",
    "SAMPLES",
    "SMALL_DATA",
    "UNKNOWN_LEVELS",
    "ClipOutlook",
    "DataInfo",
    "Direction",
    "Doubles",
    "EvalRecord",
    "ExampleScores",
    "FaultRecord",
    "Finding",
    "FingerprintRecord",
    "Floats",
    "GroupInfo",
    "GroupSummary",
    "Integers",
    "LayerInfo",
    "LayerRecord",
    "LayerSummary",
    "LossLevels",
    "Metric",
    "MetricScores",
    "NormSummary",
    "ParameterGroup",
    "ParameterInfo",
    "ProbeRecord",
    "PrunedRow",
    "PruningSummary",
    "Record",
    "Recorder",
    "RunInfo",
    "RunRow",
    "SetupRecord",
    "Status",
    "StepRecords",
    "TensorRange",
    "TrainSummary",
    "ValidationRecord",
    "last_score",
    "layer_norm_columns",
    "layers_in_call_order",
    "norm_by_layer",
    "packed_scores",
    "rows_of",
    "total_columns",
    "unpacked_scores",
    "was_clipped",
]
