# make demo | test | test-slow | lint | guard. Each makes .venv and keeps it; pip runs again only where pyproject.toml has changed.

PYTHON ?= python3
BIN := .venv/bin
EDITABLE := $(BIN)/pip install --quiet -e

.PHONY: demo test test-slow lint guard clean

# Where the demo writes (runs/demo, or the first free runs/demo-N), and its seed: make demo OUT=runs/mine SEED=2
demo: .venv/installed
	$(BIN)/burnish demo $(if $(OUT),--out "$(OUT)") $(if $(SEED),--seed $(SEED))

test: .venv/installed-dev
	$(BIN)/python -m pytest

test-slow: .venv/installed-dev
	$(BIN)/python -m pytest -m slow

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Is sampling still as fast beside plain transformers as was recorded (benchmarks/recorded.json)? Fails under half of that.
guard: .venv/installed-dev
	$(BIN)/python benchmarks/guard.py

.venv/installed: pyproject.toml | $(BIN)/pip
	@echo "Installing Burnish into .venv; the first time, this downloads PyTorch."
	$(EDITABLE) .
	@touch $@

# The stamps are touched in this order: what the tests need holds what the demo needs.
.venv/installed-dev: pyproject.toml | $(BIN)/pip
	@echo "Installing Burnish and its development tools into .venv; the first time, this downloads PyTorch."
	$(EDITABLE) ".[dev,lora]"
	@touch .venv/installed $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Burnish needs Python 3.11 or newer, and $(PYTHON) is %d.%d; choose another with make PYTHON=..." % sys.version_info[:2])'
	$(PYTHON) -m venv .venv

clean:
	rm -rf .venv build dist src/*.egg-info
