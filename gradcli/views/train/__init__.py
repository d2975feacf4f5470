"""The views of a training run: live, as plain lines, and its closing screen."""
