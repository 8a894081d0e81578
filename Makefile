# `make book` and `make test` need Python 3.11 or newer, make and git; everything else they install.
PYTHON ?= python3
TORCH  ?= torch==2.13.0
UV     ?= uv
VENV   := .venv
PEERS  := .venv-peers
BIN    := $(VENV)/bin
BOOK   := _build/html
ARGS   ?=

.PHONY: setup book test run notebooks lab peers lock book-zip clean

setup: $(VENV)/.ok

$(VENV)/.ok: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11+ is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -qq $(TORCH)
	$(BIN)/pip install -qq --require-hashes -r requirements.lock
	$(BIN)/pip install -qq --no-deps --no-build-isolation -e .
	$(BIN)/pip check
	@touch $@

# Only what has changed is built anew; `make clean book` starts from nothing.
book: setup
	$(BIN)/jupyter-book build . -W --keep-going -n -q
	@$(BIN)/python -c 'from pathlib import Path as P; print(P("$(BOOK)/index.html").resolve().as_uri())'

# One thread a process: two processes with two threads each are several times slower on two cores.
test: setup
	$(BIN)/ruff check
	$(BIN)/mypy --strict minirec
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadscope
	OMP_NUM_THREADS=1 $(BIN)/pytest notebooks --nbval --nbval-current-env --nbval-cell-timeout 120 \
	  -n 2 --dist loadscope

# The pipeline on the small world; for example `make run ARGS="--seeds 5"`.
run: setup
	$(BIN)/minirec run $(ARGS)

notebooks: setup
	OMP_NUM_THREADS=1 $(BIN)/python tools/run_notebooks.py notebooks/*.ipynb

lab: setup
	$(BIN)/jupyter lab notebooks

# The comparison packages, each in an environment of its own, because their pins exclude each other.
peers: $(PEERS)/sb3/.ok $(PEERS)/imitation/.ok

$(PEERS)/sb3/.ok: PINS = stable-baselines3
$(PEERS)/imitation/.ok: PINS = imitation==1.0.1 "numpy<2" "setuptools<81"
$(PEERS)/%/.ok: pyproject.toml
	$(PYTHON) -m venv $(PEERS)/$*
	$(PEERS)/$*/bin/pip install -qq $(TORCH)
	$(PEERS)/$*/bin/pip install -qq $(PINS) -e .
	$(PEERS)/$*/bin/pip check
	@touch $@

# For maintainers: needs uv. torch stays out, because its builds for CPU and CUDA differ in their hashes.
lock:
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	  requirements.in -o requirements.lock

book-zip: book
	@$(BIN)/python -c 'import shutil; print(shutil.make_archive("_build/minirec-book", "zip", "_build", "html"))'

clean:
	rm -rf _build build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
