"""The command line: parse, call, show, exit. One file a command; no logic."""
