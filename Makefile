# Every target first makes sure of .venv, which costs 0.2 s when nothing has changed.
#
#   PYTHON=python3.12 make test      another interpreter for a new .venv
#   RUNTIME=gpu make demo            onnxruntime-gpu, whether or not a driver is seen
#   WORKERS=4 make test              more test processes (one thread each)
#
# Without a GPU, a small torch comes from PyTorch's own index:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check

# onnxruntime-gpu has wheels for x64 only; the two share one import name, so it is one or the other.
DRIVER := $(shell { [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi; } >/dev/null 2>&1 && echo yes)
RUNTIME ?= $(if $(and $(DRIVER),$(filter x86_64,$(shell uname -m))),gpu,runtime)
UNWANTED := $(if $(filter gpu,$(RUNTIME)),onnxruntime,onnxruntime-gpu)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench format clean

help:
	@echo "make demo    search, train, export and run the example (about a minute)"
	@echo "make test    the tests"
	@echo "make check   formatting, lint and types"
	@echo "make bench   the benchmarks"
	@echo "make format  format the sources and mend what ruff can mend"
	@echo "make clean   remove what tools and runs left behind, .venv excepted"

# The stamp holds a hash of all that the environment depends on, and no times: a fresh checkout of
# the same files finds its environment up to date, and a moved folder does not.
setup:
	@test -x $(PY) || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@mkdir -p .links && { test -e .links/fusegraph/ir || ln -sfn .. .links/fusegraph; }
	@stamp=$$({ cat pyproject.toml constraints.txt; pwd -P; $(PY) --version; echo $(RUNTIME); } | cksum); \
	if [ "$$(cat $(VENV)/fusegraph.stamp 2>/dev/null)" != "$$stamp" ]; then \
		set -e; \
		echo "installing into $(VENV) (extras: $(RUNTIME), examples, dev)"; \
		rm -f $(VENV)/fusegraph.stamp; \
		if $(PIP) show --quiet $(UNWANTED) 2>/dev/null; then \
			$(PIP) uninstall --quiet --yes onnxruntime onnxruntime-gpu; \
		fi; \
		$(PIP) install --quiet --constraint constraints.txt setuptools; \
		$(PIP) install --quiet --constraint constraints.txt --no-build-isolation \
			--editable ".[$(RUNTIME),examples,dev]"; \
		echo "$$stamp" > $(VENV)/fusegraph.stamp; \
	fi

demo: setup
	$(PY) examples/av_digits/demo.py

test: setup
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(WORKERS)

check: setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m basedpyright

bench: setup
	@set -e; for script in benchmarks/bench_*.py; do echo "== $$script"; $(PY) $$script; done

format: setup
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .benchmarks runs
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
