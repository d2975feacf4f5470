"""What two trainings or comparisons at once cost each other, and what the remedy costs one alone.

Two trainings that share the cores make each other wait: a thread of OpenMP that waits for the
others spins, and keeps the core from the thread that it waits for. `gradcli` bounds the spinning
(`system.processes.share_cores`). Compared are commands as users type them, in turn, so that a
drift of the machine hits all alike:

    alone       one command
    together    the same command twice at once; ideal is twice the time of one alone
    as torch is one command, or two, with the spinning that torch has by itself (GOMP_SPINCOUNT of
                libgomp, 300,000), which is what gradcli would do without its setting

A command is timed from the start of the first process to the end of the last. The default
training on the bundled sample, of as many epochs as `--epochs`; and a comparison of tiny trials.

    python benchmarks/together.py [--epochs 40] [--repeats 5] [--at-most 1.3] [--slower 1.02]

Exits with 1 if two trainings or comparisons at once take more than `--at-most` times the ideal, or
one training alone more than `--slower` times what it takes as torch is; medians of all repeats.
"""
