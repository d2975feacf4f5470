"""The configuration of a Slurm cluster of one node, as text."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

#: As many small jobs run side by side, on however small a machine.
FEWEST_CORES = 4

#: What of the text does not depend on the machine.
SETTINGS = """\
ClusterName=one-node
SlurmUser=root
SlurmdUser=root
# not the ports of a Slurm that the machine may belong to
SlurmctldPort=16817
SlurmdPort=16818

AuthType=auth/munge
CredType=cred/munge

# whatever needs cgroups, a database or systemd is off: containers lack them. Of what tracks
# processes without cgroups, linuxproc loses those whose parent died first
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2

SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# slurmd accepts more cores than it finds
SlurmdParameters=config_overrides

JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# a job that asks for more than a partition allows is refused, and does not wait for ever
EnforcePartLimits=ALL

# seconds: as a cluster has them, but shorter
KillWait=10
MinJobAge=15
SlurmdTimeout=30
SlurmctldTimeout=30
"""

#: Jobs in `short` are pre-empted for jobs in `urgent`, with a notice of GraceTime seconds.
PARTITIONS = """\
PartitionName=DEFAULT Nodes={node} State=UP DefaultTime=5 OverSubscribe=NO
PartitionName=short Default=YES MaxTime=30 PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=urgent MaxTime=30 PriorityTier=10 PreemptMode=OFF
"""


@dataclass(frozen=True)
class Machine:
    """What Slurm has to know of the machine."""

    name: str
    """Its host name up to the first dot, which is how slurmd knows its node."""
    cores: int
    mebibytes: int

    @classmethod
    def here(cls) -> Machine:
        """Return this machine."""
        pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
        name = socket.gethostname().partition(".")[0]
        return cls(name, os.cpu_count() or 1, pages * page_bytes // 2**20)


def slurm_conf(machine: Machine, folder: Path) -> str:
    """Return a slurm.conf for a cluster of this machine, with all its files in a folder."""
    cores = max(machine.cores, FEWEST_CORES)
    return (
        f"SlurmctldHost={machine.name}(127.0.0.1)\n"
        f"NodeName={machine.name} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={machine.mebibytes}\n"
        f"{PARTITIONS.format(node=machine.name)}\n"
        f"AuthInfo=socket={folder}/munge.socket,cred_expire=10\n"
        f"StateSaveLocation={folder}/state\n"
        f"SlurmdSpoolDir={folder}/spool\n"
        f"SlurmctldPidFile={folder}/slurmctld.pid\n"
        f"SlurmdPidFile={folder}/slurmd.pid\n"
        f"SlurmctldLogFile={folder}/slurmctld.log\n"
        f"SlurmdLogFile={folder}/slurmd.log\n\n"
        f"{SETTINGS}"
    )
