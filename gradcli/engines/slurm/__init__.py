"""Trials on a cluster that Slurm schedules: an engine of pilots, each of which is a Slurm job.

slurm_engine  the engine, and what is asked of Slurm for each pilot
slurm_fleet   pilots as Slurm jobs, submitted by submitit
local_fleet   the same pilots on this machine, by submitit's local executor
"""
