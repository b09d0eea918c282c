# Every target sets up all that it needs: a virtual environment in .venv with gencls in it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install test demo accuracy poems generation reports lint format clean distclean

install: $(STAMP)

# The stamp makes a second call quick; a change of the dependencies installs again.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

# A worker for each core, of one thread: the tests' models are too small for more.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

# Trains and tests on real IMDB reviews; ends with the report's path and a table.
demo: $(STAMP)
	$(BIN)/python -m benchmarks.imdb_demo --run runs/imdb-demo --output reports/imdb-demo

# Poem completion against causal models, an hour and a half on two cores; GENCLS_POEMS names a file of modern poems.
poems: $(STAMP)
	$(BIN)/gencls benchmark poems --preset cpu

# Accuracy and calibration on all data sets; hours on two cores, resumed by the same command.
accuracy: $(STAMP)
	$(BIN)/python -m benchmarks.accuracy --size cpu

# All reports of the repository, from the demo's model.
reports: demo
	$(BIN)/python -m benchmarks.estimators --run runs/imdb-demo --preset full --output reports/estimators
	$(BIN)/python -m benchmarks.throughput --run runs/imdb-demo --preset small --output reports/throughput

# Quality and speed of generation, from held-out beginnings; half an hour on two cores.
generation: demo
	$(BIN)/python -m benchmarks.generation --size small --classifier runs/imdb-demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy gencls

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find gencls tests benchmarks scripts -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf $(VENV)
