"""Records as they are read back from the logs: in the types and with the digits that these keep."""

from __future__ import annotations

from gradcli.records import LayerRecord, Record, StepRecords
from gradcli.runs.logs.log_lines import layers_as_logged
from gradcli.runs.logs.step_log import steps_as_logged


def as_logged(record: Record) -> Record:
    """Return the record that a reader of the log gets for one that was written."""
    match record:
        case StepRecords():
            return steps_as_logged(record)
        case LayerRecord():
            return layers_as_logged(record)
        case _:
            return record
