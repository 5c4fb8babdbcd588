PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup test check clean

setup: $(VENV)/.ready  ## create the virtual environment and install the project

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

test: setup  ## set up and run the tests
	$(BIN)/pytest

check: setup  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## remove the virtual environment
	rm -rf $(VENV)
