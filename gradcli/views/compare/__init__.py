"""The views of a comparison: live, as plain lines, and its closing screen."""
