"""The screens of an inspection: what the gradients do, what is wrong, and what to try."""
