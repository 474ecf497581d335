# Two commands do everything on a fresh machine with Python >= 3.11 and make:
#   make demo   set up .venv, install, run the main job on the bundled images
#   make test   the same set-up, then lint, types and tests
# and make docs builds the documentation into build/site, its links checked.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo docs test
demo: .venv/installed
	$(BIN)/embprobe demo

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses=auto --dist=worksteal

docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "embprobe needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
