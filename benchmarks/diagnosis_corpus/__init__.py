"""Trainings with a planted fault, or with none, and how well gradcli tells them apart."""
