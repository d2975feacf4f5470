"""What a shell proposes when Tab is pressed: words on the line in, proposals out.

proposing   what may stand at the cursor, as a function of the words on the line
line        which option or argument of which command the cursor is at
answer      proposals, and which of them fit what is typed
key_words   overrides, KEY=VALUE
run_words   names of runs, arms of comparisons, conditions
shells      what a shell hands over, and what it wants back
completion  `gradcli completion`: the scripts of the shells

Nothing here imports torch or Hydra. An answer takes as long as Typer's own.
"""

#: The environment variable by which a shell asks; its value is the name of the shell.
SHELL = "_GRADCLI_COMPLETION"
