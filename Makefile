# Everything runs from .venv, which is made from the lock by the first Python of at least 3.11 that is found.
# `make demo` and `make test` need that Python and make, nothing else.

BIN := .venv/bin
READY := .venv/.ready
LOCKED := .venv/.locked
RUN ?= $(BIN)/python -m
# Two workers: the tests start processes of their own.
TESTS ?= -n 2

# The console is tested in a real browser, which Debian has; it is installed where that is allowed.
browser: $(READY)
	@$(BIN)/python -m tests.console.browser.finding || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then echo "==> installing Chromium"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; fi; \
		$(BIN)/python -m tests.console.browser.finding || echo "==> the tests in a browser will fail: there is none"; }

.PHONY: help demo test heavy frameworks frameworks-oldest browser screenshots check lint bench clients lock clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    watch a support agent being governed and an MCP server being wrapped; then the console on 127.0.0.1:8321"
	@echo "make test    run every test but the heavy ones"
	@echo "make heavy   run the heavy tests: power cuts, kills by the hundred, what starts many processes, software of others"
	@echo "make frameworks  run the suite of the integrations with each agents' framework, in an environment of its own (FRAMEWORKS=langchain)"
	@echo "make frameworks-oldest  the same with the oldest versions that the extras admit"
	@echo "make check   lint, types, direction of imports, every test; branch coverage of all but the heavy ones, which it would slow by half"
	@echo "make screenshots  write the pictures of the docs anew, from the running console"
	@echo "make bench   measure; prints a table and writes benchmarks/results.json"
	@echo "make clients write the generated half of the clients anew, from the API as it is"
	@echo "make lock    renew requirements-dev.lock"
	@echo "make clean   remove .venv and what tools left behind"

demo: $(READY)
	@$(BIN)/licet demo

test: $(READY) browser
	@echo "==> tests"
	$(RUN) pytest $(TESTS)

heavy: $(READY) browser
	@echo "==> heavy tests"
	$(RUN) pytest $(TESTS) -m heavy

# Frameworks do not go together: each has an environment in .frameworks, made the first time.
frameworks: $(READY)
	@echo "==> agents' frameworks"
	@$(BIN)/python -m tests.integrations.environments $(FRAMEWORKS)

frameworks-oldest: $(READY)
	@echo "==> agents' frameworks, the oldest"
	@$(BIN)/python -m tests.integrations.environments --oldest $(FRAMEWORKS)

check: lint
	@rm -f .coverage .coverage.*
	@$(MAKE) --no-print-directory test RUN="$(BIN)/coverage run -m"
	@echo "==> coverage"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	@$(MAKE) --no-print-directory heavy
	@$(MAKE) --no-print-directory frameworks
	@echo "==> everything holds"

# The pictures in the docs, from the running product.
screenshots: $(READY) browser
	@echo "==> pictures of the console"
	$(BIN)/python -m tests.console.screenshots

lint: $(READY)
	@echo "==> lint, format, types, direction of imports"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	@$(BIN)/python -m benchmarks $(BENCH)

# The types of the TypeScript client need npm; where there is none, the rest is written all the same.
clients: $(READY)
	@$(BIN)/python -m tests.client.generate
	@if command -v npm >/dev/null; then cd clients/typescript && npm ci --silent && npm run --silent generate; \
	else echo "there is no npm: clients/typescript/src/schema.ts is not written"; fi

# The lock is for development; whoever installs the package gets the ranges of pyproject.toml.
lock: $(READY)
	@echo "==> resolving"
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra dev --output-file requirements-dev.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--extra server --extra postgres --extra otel --constraint requirements-dev.lock --output-file deploy/requirements.lock \
		pyproject.toml deploy/build.in

	@$(BIN)/python -m tests.integrations.environments --lock

clean:
	rm -rf .venv .frameworks .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist

# Stamps are written last: a set-up that was cut short runs again.
$(READY): pyproject.toml $(LOCKED)
	@echo "==> installing licet"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(LOCKED): requirements-dev.lock
	@python=; for name in python3.11 python3.12 python3.13 python3.14 python3; do \
		if $$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "no Python of at least 3.11 with venv and pip was found (on Debian: apt install python3-venv)" >&2; exit 1; fi; \
	test -x $(BIN)/python || { echo "==> making .venv with $$python"; $$python -m venv .venv; }
	@echo "==> installing what requirements-dev.lock names (the first time takes a minute)"
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
