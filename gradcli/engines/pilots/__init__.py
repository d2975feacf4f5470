"""Pilots: long-lived workers that claim trials from a queue on a disk that all of them see.

    queue         the jobs of a comparison, each a file that moves from folder to folder
    pilot         what a pilot does: claim a trial, run it, and lead if nobody leads
    fleet         what is asked of whatever starts pilots: a scheduler of a cluster
    pilot_engine  the engine of a comparison whose trials pilots run

Trials last seconds and a scheduler needs as long to start a job, so a pilot is one job and runs
many trials. What pilots know of one another, and of whoever leads the comparison, is on the disk.
"""
