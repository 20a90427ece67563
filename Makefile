# One verb per habit. Every verb sets up what it needs first.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
MARKED := not slow
PROFILE := quick
# node is on PATH, or set-up put it beside Python
WITH_NODE := PATH="$$PATH:$(CURDIR)/$(BIN)"

.PHONY: setup test test-all demo compile lint lint-python lint-solidity generated brownie format clean

setup:
	@PYTHON="$(PYTHON)" scripts/setup

# Two at a time, each with its own chain; contracts are compiled before, so that neither waits for the other. One thread
# each for torch: threads that spin on two cores that are both busy make its small tensors many times slower.
test: setup
	$(BIN)/python scripts/compile.py
	HYPOTHESIS_PROFILE=$(PROFILE) OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "$(MARKED)" $(ARGS)

# Those marked slow, or named by tests/slow.txt, too. What is drawn is drawn three times as often.
test-all: MARKED :=
test-all: PROFILE := ci
test-all: test

demo: setup
	$(BIN)/offchain demo $(ARGS)

compile: setup
	$(BIN)/python scripts/compile.py $(ARGS)

lint: lint-python lint-solidity generated

lint-python: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lint-solidity: setup
	$(WITH_NODE) node node_modules/solhint/solhint.js --noPoster --disc 'contracts/**/*.sol'
	mkdir -p build && $(BIN)/python scripts/compile.py --input > build/solc-input.json
	$(WITH_NODE) $(BIN)/slither build/solc-input.json

# Fails when a committed file is not what its sources generate; changes nothing.
generated: setup
	$(BIN)/python scripts/generate_opcodes.py --check
	$(BIN)/python scripts/compile.py --check
	$(BIN)/python scripts/operations.py --check

# Brownie's own tests; it starts and stops its Ganache itself.
brownie: setup
	$(BIN)/brownie test --network offchain-local $(ARGS)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv node_modules build reports dist *.egg-info
