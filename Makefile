# `make run` and `make test` do everything on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NUMERIC_TESTS := tests/fast tests/gradients tests/optim tests/training
LOCKS := requirements.lock requirements-torch.lock
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: run test test-slurm test-ecosystem torture check terminals matrix mutants bench lock audit clean
.DEFAULT_GOAL := run

run: $(VENV)/installed  ## train on MNIST, or on the bundled sample where MNIST cannot be had
	$(BIN)/gradcli train

test: check  ## everything that CI runs; the numeric tests also without the shortcuts of `fast/`
	$(BIN)/python -m pytest -n auto --dist loadfile
	GRADCLI_FAST=0 $(BIN)/python -m pytest -n auto --dist loadfile $(NUMERIC_TESTS)

matrix:  ## the quick suite with the oldest and the newest PyTorch, each in a new environment
	$(PYTHON) tools/matrix.py

# As root, and on Debian or Ubuntu.
test-slurm: $(VENV)/installed-for-tests  ## the tests that need Slurm: installs and starts one here
	$(BIN)/python tools/slurm_node run $(BIN)/python -m pytest tests/engines/test_slurm_node.py

# On Debian or Ubuntu it also needs: chromium zsh fish. A test says what it lacks.
test-ecosystem: $(VENV)/installed-for-ecosystem  ## the tests with other people's libraries, shells and browsers
	$(BIN)/python -m pytest -n auto --dist loadfile tests/ecosystem

torture: $(VENV)/installed-for-tests  ## what is promised in docs/reliability.md, tried: 15 minutes
	$(BIN)/python tools/torture

mutants: $(VENV)/installed-for-mutants  ## would a test notice? 400 small changes; goes on if stopped
	$(BIN)/python tools/mutants

check: $(VENV)/installed-for-tests  ## linter, formatter and type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

terminals: $(VENV)/installed-for-tests  ## the tests that draw text, in terminals of several kinds
	PYTHON=$(BIN)/python tools/any_terminal.sh

bench: $(VENV)/installed-for-benchmarks  ## what is claimed about speed, into benchmarks/RESULTS.md
	$(BIN)/python benchmarks/run_all.py

lock: .locking/installed  ## the lock files anew, from pyproject.toml and constraints.txt
	PATH="$(CURDIR)/.locking/bin:$$PATH" python tools/lock.py

audit: .locking/installed  ## known vulnerabilities of the locked packages; asks pypi.org
	.locking/bin/pip-audit --strict --disable-pip --require-hashes $(addprefix --requirement ,$(LOCKS))

# The tools that judge the locked packages are not installed among them.
.locking/installed:
	$(PYTHON) -m venv .locking
	.locking/bin/python -m pip install --quiet uv pip-audit
	touch $@

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --editable .
	touch $@

$(VENV)/installed-for-tests: $(VENV)/installed
	$(PIP_INSTALL) --editable '.[test]'
	touch $@

$(VENV)/installed-for-ecosystem: $(VENV)/installed-for-tests
	$(PIP_INSTALL) --editable '.[ecosystem]'
	touch $@

$(VENV)/installed-for-mutants: $(VENV)/installed-for-tests
	$(PIP_INSTALL) --editable '.[mutants]'
	touch $@

# A benchmark whose rival cannot be had says so and is skipped, so that failing here stops nothing.
$(VENV)/installed-for-benchmarks: $(VENV)/installed
	-$(PIP_INSTALL) --editable '.[bench]' && touch $@

clean:
	rm -rf $(VENV) .matrix .locking .mutants build dist .mypy_cache .pytest_cache .ruff_cache
