"""What a shell proposes when Tab is pressed: words on the line in, proposals out.

proposing     what may stand at the cursor, as a pure function of the line
line          which command and which of its options or arguments the cursor is at
key_words     overrides, KEY=VALUE
run_words     names of runs, arms of comparisons, conditions
lists         values with commas
shells        what a shell hands over, and what it wants back
completion    `gradcli completion`: the scripts of the shells

Nothing here imports torch or Hydra. An answer takes as long as Typer's own.
"""
