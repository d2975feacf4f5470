"""What takes a run in while it happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradcli.records.fingerprints import FingerprintRecord
from gradcli.records.measurements import FaultRecord, LayerRecord, ProbeRecord, StepRecords
from gradcli.records.run_info import RunInfo
from gradcli.records.scores import EvalRecord
from gradcli.records.setup_record import SetupRecord
from gradcli.records.summaries import TrainSummary

Record = (
    StepRecords
    | LayerRecord
    | SetupRecord
    | FingerprintRecord
    | EvalRecord
    | FaultRecord
    | ProbeRecord
)


class Recorder:
    """Takes in a run while it happens. Derive from it and override what you need.

    All calls come from the process that trains, in this order: `begin` once; `record` for each
    record, as it comes; `finish` if the run ends with a summary, which is when it has finished,
    diverged or been interrupted; `close` in every case, last. `note` may come at any time.

    Any method may raise. The run then continues without this recorder, and the user sees which one
    failed and why, `run.json` notes it, and `close` is called. Only the run directory's own
    recorder ends a run by failing. The constructor is called before the run begins; what it
    raises ends the command, so whatever may fail for a while (a connection) belongs in `begin`.

    A recorder must leave records and random states as they are, and return quickly: the training
    waits for it.
    """

    name = ""
    """What messages call it; empty for the name of its class."""
    shows_notes = False
    """Whether a person reads what `note` receives. If not, warnings are Python warnings."""

    def begin(self, info: RunInfo, path: str, settings: Mapping[str, Any]) -> None:
        """Learn what is about to run.

        Args:
            info: the header of the run. If it is resumed, `info.start_step` is not 0, and
                records of later steps that an earlier process emitted come again.
            path: the run directory.
            settings: the resolved config by the keys of overrides, such as `optimizer.lr`.
        """

    def record(self, record: Record) -> None:
        """Take in the next record."""

    def note(self, text: str) -> None:
        """Take in a sentence for the user, such as a warning."""

    def finish(self, summary: TrainSummary) -> None:
        """Take in how the run ended."""

    def close(self) -> None:
        """Release what `begin` has opened. May be called without `begin`, and again."""
