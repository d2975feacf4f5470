"""What gradcli asks of the operating system: paths, signals, processes and locks."""
