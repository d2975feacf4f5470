"""Where trials run: the seam between a comparison and the machines that do its work.

    local    worker processes on this machine
    serial   one trial after another in this process, for debuggers and tests
    opening  from the class that `configs/engine/` names to an engine
    work     what every engine does with a request: plan, or run a trial
    worker   what a local worker process runs

`comparison.engine` says what an engine must do. An engine starts trials and says which have
ended. Their run directories say how they went, so nothing is lost if an engine dies, and a
comparison can resume on any other engine.
"""

from gradcli.comparison.engine import Ended, Engine, Job, OpenEngine, PlanRequest
from gradcli.engines.local import LocalEngine
from gradcli.engines.opening import opened_engines
from gradcli.engines.serial import SerialEngine

__all__ = [
    "Ended",
    "Engine",
    "Job",
    "LocalEngine",
    "OpenEngine",
    "PlanRequest",
    "SerialEngine",
    "opened_engines",
]
