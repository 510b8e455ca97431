# Two commands matter: `make demo` (the whole way on synthetic X-rays) and `make test`.
# VENV=path puts the environment elsewhere; PYTHON=python3.12 builds it with another interpreter.
VENV ?= .venv
PYTHON ?= python3
DEMO ?= demo
BIN := $(VENV)/bin
# DALI exists for Linux alone; elsewhere the package works on OpenCV.
EXTRAS := dev,cluster,remote
ifeq ($(shell uname -s),Linux)
EXTRAS := dev,cluster,remote,cuda13
endif

.PHONY: setup demo test gpu-check lint format clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	touch $@

demo: setup
	$(BIN)/cxrfast-shard phantom $(DEMO)/release --datasets chexpert
	$(BIN)/cxrfast-shard doctor chexpert $(DEMO)/release
	$(BIN)/cxrfast-shard pack chexpert $(DEMO)/release --out $(DEMO)/shards/chexpert
	$(BIN)/cxrfast-train --config demo.yaml --shards $(DEMO)/shards --run $(DEMO)/run

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread a process: small networks on many threads wait for each other more than they compute.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# For whoever has an NVIDIA GPU: the tests marked gpu, parity, speed; one file in benchmarks/results. Without one: status 2.
gpu-check: setup
	$(BIN)/python tools/gpu_check.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(DEMO)
