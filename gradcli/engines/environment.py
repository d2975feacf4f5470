"""What is set in the environment of every process that runs trials."""

#: Trials set their own number of threads; this is for everything else in the process.
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
