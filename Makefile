# Two commands do all the set-up on a fresh machine: `make demo` and `make test`. They need Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: demo test heavy nightly lint clean

# What upscales, without the tools of developers.
$(VENV)/.upscales: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -e .
	touch $@

$(VENV)/.installed: $(VENV)/.upscales
	$(PY) -m pip install --quiet -e '.[dev]'
	touch $@

# Upscale the first second of a real clip (NASA, public domain, 320x180) and put bicubic and result side by side.
demo: $(VENV)/.upscales
	mkdir -p demo
	$(PY) -m infer --video examples/nasa_320x180.mp4 --output demo/nasa_x4.mp4 --frames 24 --overwrite
	$(PY) examples/side_by_side.py examples/nasa_320x180.mp4 demo/nasa_x4.mp4 demo/side_by_side.png

# One worker runs all tests of a file, which share compiled programs; the longest files first.
PYTEST := $(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations 20
TESTS ?= not parity and not heavy and not nightly

test: $(VENV)/.installed
	$(PYTEST) -m '$(TESTS)'

# Many seconds each: the full-size model, memory over a long clip, fresh processes.
heavy: $(VENV)/.installed
	$(PYTEST) -m heavy

# More of the same: further seeds of damage, all recipes, a stream that goes on (SOAK_MINUTES=60: for an hour).
nightly: $(VENV)/.installed
	$(PYTEST) -m nightly

lint: $(VENV)/.installed
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright

clean:
	rm -rf $(VENV) demo
