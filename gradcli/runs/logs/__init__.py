"""The logs of a run: rows of numbers, and lines of JSON.

log_blocks  appends to them in blocks, each with a checksum
step_log    the rows of `steps.bin`
log_lines   what the lines of `evals.jsonl` and `probes.jsonl` hold
as_logged   what is read back of a record
log_reader  reads what is not damaged
"""
