# The two commands of a newcomer: make demo, make test. Both make .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PROJECT := pyproject.toml

# Of the peers in tests and benches too; vecloom itself switches it off.
export ORT_DISABLE_TELEMETRY := 1

# The exact versions that the tests pass with. To take the newest ones instead: make test CONSTRAINTS=
CONSTRAINTS := constraints.txt
PINNED := $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

# On Linux plain torch brings gigabytes of CUDA; the CPU build has an index of its own.
ifeq ($(shell uname -s),Linux)
TORCH := --extra-index-url https://download.pytorch.org/whl/cpu torch==2.13.0+cpu
else
TORCH := torch==2.13.0
endif

.PHONY: demo test test-server lint docs wheel constraints bench bench-e2e bench-large bench-gpu bench-packs bench-quality clean

demo: $(VENV)/core.done
	$(BIN)/vecloom index . --index $(VENV)/demo-index
	$(BIN)/vecloom search "wait for the lock and say who holds it" --index $(VENV)/demo-index --limit 5
	$(BIN)/vecloom search "reciprocal rank fusion" --index $(VENV)/demo-index --limit 3

test: $(VENV)/test.done lint
	$(BIN)/python -m pytest -n 2

# Over a real server: docker run -p 6333:6333 qdrant/qdrant
test-server: export QDRANT_URL ?= http://localhost:6333
test-server: $(VENV)/test.done
	$(BIN)/python -m pytest tests/test_stores.py tests/test_server.py

lint: $(VENV)/test.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/cli_reference.py --check

docs: $(VENV)/test.done
	$(BIN)/python tools/cli_reference.py

# A wheel in dist/, to be installed anywhere: pip install dist/vecloom-*.whl
wheel: $(VENV)/made
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

# Pin anew what the tests pass with now: make clean && make test CONSTRAINTS= && make constraints
# Without torch, whose builds differ between platforms (see TORCH), and what only some builds of it need.
constraints: $(VENV)/test.done
	@echo '# Made by make constraints: the versions that the tests pass with.' > constraints.txt
	$(PIP) freeze --exclude-editable --exclude pip --exclude setuptools --exclude torch \
		| grep -viE '^(nvidia|cuda|triton|intel)' >> constraints.txt

bench: $(VENV)/bench.done
	$(BIN)/python -m bench

bench-e2e: $(VENV)/bench.done
	$(BIN)/python -m bench.e2e

bench-large: $(VENV)/bench.done
	$(BIN)/python -m bench.large

bench-gpu: $(VENV)/bench.done
	$(BIN)/python -m bench.gpu

bench-packs: $(VENV)/bench.done
	$(BIN)/python -m bench.packs

# Judged sets of your own: make bench-quality SETS="path/to/set path/to/folder-of-sets"
bench-quality: $(VENV)/bench.done
	$(BIN)/python -m bench.quality $(SETS)

clean:
	rm -rf $(VENV) .bench

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vecloom needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/core.done: $(VENV)/made $(PROJECT) $(CONSTRAINTS)
	$(PIP) install --quiet $(PINNED) --editable .
	@touch $@

$(VENV)/test.done: $(VENV)/core.done
	$(PIP) install --quiet --no-deps $(TORCH)
	$(PIP) install --quiet $(PINNED) --editable . --group test
	@touch $@

$(VENV)/bench.done: $(VENV)/test.done
	$(PIP) install --quiet --group bench
	@touch $@
