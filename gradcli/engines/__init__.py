"""Where trials run: the seam between a comparison and the machines that do its work.

    engine  what every engine does: hire, plan, submit, poll, cancel, close
    local   worker processes on this machine
    worker  what such a process runs

An engine starts trials and says which have ended. How they went, their run directories say,
so that nothing is lost with an engine, and a later call finds what an earlier one did.
"""

from gradcli.comparison.engine import Ended, Engine, Job, PlanRequest
from gradcli.engines.local import LocalEngine

__all__ = ["Ended", "Engine", "Job", "LocalEngine", "PlanRequest"]
