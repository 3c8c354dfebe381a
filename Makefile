# make run    the example shop, two workers and some visitors, on http://127.0.0.1:8000 (PORT=, DEMO_VISITORS=)
# make test   everything: format, lint, types, tests
# make check  the same without the tests that start servers and browsers
# make bench  what the monitor costs
# make screenshots  the page in every state, as pictures in docs/screenshots (SCREENSHOTS=)
# make clean  away with the environment and what tools left behind

PYTHON ?= python3
PORT ?= 8000
DEMO_VISITORS ?= 20
SCREENSHOTS ?= docs/screenshots

BIN := .venv/bin
export PORT

.PHONY: run test check lint bench screenshots clean

# The shell becomes gunicorn: what ends this target ends the server, and with their parent gone the
# visitors go.
run: .venv/installed-example
	@echo "The shop: http://127.0.0.1:$(PORT)/  its dashboard: http://127.0.0.1:$(PORT)/monitor/"
	@if [ "$(DEMO_VISITORS)" != 0 ]; then $(BIN)/python example_app.py visitors \
		--count "$(DEMO_VISITORS)" --parent $$$$ --make $$PPID & fi; \
	exec $(BIN)/gunicorn example_app:app

test: lint
	$(BIN)/pytest

check: lint
	$(BIN)/pytest -m "not server and not browser"

lint: .venv/installed-test,lint
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

bench: .venv/installed-bench
	@set -e; for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file; done

screenshots: .venv/installed-test,lint
	$(BIN)/python -m tests.browser.screenshots "$(SCREENSHOTS)"

clean:
	rm -rf .venv build dist *.egg-info .coverage htmlcov
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# The stem names the extras; installed again only when what is to be installed has changed.
.venv/installed-%: setup.cfg pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"Python 3.11 or newer is needed, and $(PYTHON) is %d.%d; say make PYTHON=..." \
		% sys.version_info[:2])'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
