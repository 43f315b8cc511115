# Everything runs in .venv, which the first target that needs it makes. Needs python3 (3.10 or newer)
# with venv and pip, and nothing else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OUT := out
REGIONS ?= 50000
NETS ?= 1000
# Which tests were left out and why; one that is not foreseen in tests/support/skips.py fails.
SKIPS := -rs --listed-skips
# Tests side by side, one thread each. COVERAGE=--cov prints what they reach.
WORKERS ?= 2
COVERAGE ?=

.PHONY: help venv example bench bench-full test random-nets check lint types settings soak soak-cluster slurm-test zoo-test \
    deep-test gpu-test gpu-bench packages site lock clean

help:
	@echo 'make example  install into .venv, run the example, show its result'
	@echo 'make bench    the methods side by side, and the papers'\'' tables and figures, small; minutes'
	@echo 'make bench-full  at the papers'\'' sizes, on an idle machine: docs/benchmarks.md; two hours'
	@echo 'make test     the tests, under 10 minutes on 2 cores'
	@echo 'make settings  default.yaml, the table of settings and the JSON Schema, from the keys'
	@echo 'make check    lint, format, types and tests: what CI runs'
	@echo 'make soak     the tests that take longer'
	@echo 'make zoo-test  the published models at full size against the oracle; minutes'
	@echo 'make deep-test  every case with every backend, operators under random attributes; 20 minutes'
	@echo 'make random-nets  random nets, scripted and traced, judged by the oracle; NETS=1000'
	@echo 'make slurm-test    on a SLURM of its own on this machine; as root, with slurm-wlm and munge'
	@echo 'make soak-cluster  many shards, killed at random and started again; REGIONS=50000'
	@echo 'make gpu-test   on a machine with a GPU: exactness, memory, two runs; PYTHON with torch'
	@echo 'make gpu-bench  on a machine with a GPU: speed beside naive, as JSON; see docs/gpu.md'
	@echo 'make packages  wheel and sdist, each installed afresh with the example run from it'
	@echo 'make site     the documentation as a site, in $(OUT)/site'
	@echo 'make lock     renew the versions in constraints.txt'
	@echo 'make clean    remove what the above made, .venv excepted'

venv: $(INSTALLED)

# torch is named so that the constraint alone decides which torch is installed.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    -c constraints.txt torch -e '.[dev,plots,export]'
	@touch $@

example: venv
	@mkdir -p $(OUT)
	$(BIN)/yuzu run -c example_data/example.yaml -o $(OUT)/example.h5 --force
	$(BIN)/yuzu info $(OUT)/example.h5
	$(BIN)/yuzu plot $(OUT)/example.h5 --region SuHw_1 --target 3 -o $(OUT)/SuHw_1.png --force
	@echo 'Look at $(OUT)/SuHw_1.png, and see README.md for what comes next.'

bench: venv
	$(BIN)/yuzu bench --suite all --seconds 1 -o $(OUT)/bench

bench-full: venv
	$(BIN)/yuzu bench --suite all --full --device cpu --jobs 2 -o $(OUT)/bench-full $(BENCH)
	$(BIN)/python -m tests.programs.families $(OUT)/bench-full
	$(BIN)/python -m tests.programs.bench_page $(OUT)/bench-full docs README.md

# The nets of the tests are small: a second thread would mostly wait, at full load.
test: export OMP_NUM_THREADS := 1
test: venv
	$(BIN)/python -m pytest -n $(WORKERS) -m 'not slow' $(SKIPS) $(COVERAGE)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

settings: venv
	$(BIN)/python -m yuzu_cli.config_pages

types: venv
	$(BIN)/mypy

check: lint types test

soak: venv
	$(BIN)/python -m pytest -m slow --timeout 3600 --ignore tests/cluster/test_slurm.py

# Exactness where it is hardest: the published models at their papers' sizes.
zoo-test: export OMP_NUM_THREADS := 1
zoo-test: venv
	$(BIN)/python -m pytest tests/backends/test_conformance.py -m slow -k 'papers_sizes and windowed' $(SKIPS)

# What the quick tests leave out: every case with every backend, matrix and kind of file, operators
# under many random attributes, a run killed at every system call.
deep-test: export OMP_NUM_THREADS := 1
deep-test: venv
	$(BIN)/python -m pytest tests/backends/test_conformance.py \
	    tests/backends/test_sensing_conformance.py tests/backends/test_faults*.py tests/operators \
	    tests/runs/test_kill.py \
	    -n $(WORKERS) -m slow -k 'not papers_sizes' $(SKIPS)

# Architectures nobody wrote by hand: none may be wrong, none may end by an error.
random-nets: export OMP_NUM_THREADS := 1
random-nets: venv
	$(BIN)/python -m tests.programs.random_nets --nets $(NETS)

slurm-test: export OMP_NUM_THREADS := 1
slurm-test: venv
	$(BIN)/python -m pytest tests/cluster/test_slurm.py

soak-cluster: export OMP_NUM_THREADS := 1
soak-cluster: venv
	$(BIN)/python -m tests.programs.soak_cluster --regions $(REGIONS) --folder $(OUT)/soak

# For a machine with a card: PYTHON needs torch, numpy, h5py and this checkout, and no more. Without
# a card both say so and end with status 77, which make reports as its own failure.
gpu-test:
	@mkdir -p $(OUT)
	$(PYTHON) -W ignore -m tests.gpu -o $(OUT)/gpu-test.json

gpu-bench:
	@mkdir -p $(OUT)
	$(PYTHON) -W ignore -m tests.programs.gpu_bench -o $(OUT)/gpu-bench.json

packages: venv
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m tests.programs.packages dist

site: export NO_MKDOCS_2_WARNING := 1
site: venv
	$(BIN)/mkdocs build --quiet --strict

# The exact versions, for every Python that is claimed. torch is left to the line that is written by
# hand, with what it brings along.
lock: venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	sed -n '1,/^torch==/p' constraints.txt > constraints.new
	$(BIN)/uv pip compile pyproject.toml .ci/extras.in --all-extras --universal --python-version 3.10 \
	    --constraint constraints.new --quiet --no-annotate --no-header \
	    | grep -Ev '^(torch|triton|nvidia-|cuda-)' >> constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(OUT) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
