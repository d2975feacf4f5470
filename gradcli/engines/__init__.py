"""Where trials run: the seam between a comparison and the machines that do its work.

    local           worker processes on this machine
    serial          one trial after another in this process, for debuggers and tests
    pilots, slurm   long jobs on a cluster, each of which runs many trials
    ray_cluster     actors on a Ray cluster, each with a worker process
    opening         from the class that `configs/engine/` names to an engine
    work            what every engine does with a request: plan, or run a trial
    worker          what a worker process runs
    worker_process  a worker process as its parent sees it
    pipes           the pipes of such a process

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
