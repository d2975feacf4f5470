"""What gradcli asks of the operating system: paths, signals, processes, locks and resources."""
