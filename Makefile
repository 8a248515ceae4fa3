# make run: the whole workbook, quick.  make test: lint, tests, every notebook.  Both build .venv on first use.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The first Python that is new enough and can make environments; `make PYTHON=/path/to/python3.12` chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: help run test parity lint lab clean faults fuzz endurance
help:
	@echo "make run   execute the whole workbook (quick) and say where its report is"
	@echo "make test  lint, unit tests, golden numbers, every notebook"
	@echo "make lab   open the first notebook in JupyterLab"
	@echo "make parity  the numbers of the official implementation alone, 18 cases"
	@echo "make lint  ruff alone"
	@echo "make faults kill training, invert, batch and data work at random moments, and resume them"
	@echo "make fuzz  damaged files to every reader, 5,000 to each"
	@echo "make endurance  10,000 images and 20,000 training steps: memory, files, threads, processes"
	@echo "make clean remove .venv and Python's caches (results in outputs/ stay)"

$(READY): pyproject.toml constraints.txt
	@$(BIN)/python -c '' 2>/dev/null || { python='$(strip $(PYTHON))'; test -n "$$python" || { echo \
	"No Python 3.11 or newer with venv was found: install one (Debian and Ubuntu: apt install python3 python3-venv)," \
	"or name it with make PYTHON=/path/to/python3." >&2; exit 1; }; \
	echo "Creating $(VENV) with $$python (once; about 5 GB with torch, a few minutes)"; \
	"$$python" -m venv --clear $(VENV); }
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[test]"
	@touch $@

run: $(READY)
	$(BIN)/python -m restyle_lib run all --profile quick

lint: $(READY)
	$(BIN)/python -m ruff check .

test: lint
	$(BIN)/python -m pytest -q

parity: $(READY)
	$(BIN)/python -m pytest -v tests/test_golden.py tests/test_stylegan2.py::test_golden_numbers_through_the_published_layout \
		tests/test_nvidia.py::test_parity_with_a_snapshot tests/test_alignment.py::test_as_published

faults: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults.py

fuzz: $(READY)
	RESTYLE_FUZZ=5000 $(BIN)/python -m pytest -q -s tests/test_fuzz.py

endurance: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/endurance.py

lab: $(READY)
	$(BIN)/python -m jupyter lab notebooks/00_start_here.ipynb

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info
	find restyle_lib tests -name __pycache__ -type d -prune -exec rm -rf {} +
