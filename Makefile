# Needs python3 (3.10 or newer), git and make; everything else goes into .venv.
# Written for any POSIX sh and for the make that macOS has (3.81).

PYTHON ?= python3
ARGS   ?=
PY     := .venv/bin/python
# Jupyter will not run as root (containers, mostly) unless told so.
ROOT    = $$(test "$$(id -u)" != 0 || echo --allow-root)

export PYTHON TORCH NEWEST OLDEST

.DEFAULT_GOAL := help
.PHONY: help lab test test-full doctor data notebooks record bench bench-gpu format constraints clean env env-test

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "ARGS=...          more arguments for lab (ARGS=--no-browser), test, record, notebooks or bench"
	@echo "TORCH=cpu         a first install takes PyTorch's own CPU builds, a fraction of the download"
	@echo "PYTHON=python3.12 a first install uses this Python"
	@echo "NEWEST=1          a first install takes the newest releases, not the versions in constraints.txt"
	@echo "OLDEST=1          a first install takes the oldest releases that the course supports"

lab: env ## install into .venv, find or fetch CIFAR-10, open the course in JupyterLab
	@$(PY) -m clrlib data || echo "No CIFAR-10: figures and widgets work all the same, and live cells go on with the stand-in digits."
	@exec $(PY) -m jupyterlab --ip=127.0.0.1 $(ROOT) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb $(ARGS)

# The unit tests run in one process, with all its threads: on two cores that is the fastest.
test: env-test ## ruff, unit tests and doctests, then every notebook on a small budget
	$(PY) -m ruff check
	$(PY) -m pytest $(ARGS)
	CLR_PROFILE=smoke $(PY) -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 notebooks/

test-full: env-test ## every chapter in the browser; the faults again, with many more of them; the packages' rules (15 minutes)
	CLR_EXAMPLES=1000 $(PY) -m pytest -m "" tests/test_faults_*.py tests/test_hostile.py tests/test_browser.py tests/test_cells.py tests/test_other_hosts.py tests/test_suggest.py $(ARGS)

doctor: env ## what this machine has, and what the live cells will use
	@$(PY) -m clrlib doctor

data: env ## find CIFAR-10, or download it (170 MB)
	@$(PY) -m clrlib data

notebooks: env-test ## execute the notebooks and store their outputs
	@$(PY) -m clrlib build $(ARGS)

record: env ## run the recorded experiments that are missing; ARGS=--list shows them
	@$(PY) -m clrlib record $(ARGS)

bench: env-test ## time this machine, each figure beside its peer
	@$(PY) tests/bench.py $(ARGS)

bench-gpu: env-test ## time a GPU: the article's run beside a tutorial's loop; under 10 minutes
	@$(PY) tests/bench_gpu.py $(ARGS)

format: env-test ## format the code
	@$(PY) -m ruff format clrlib tests
	@$(PY) -m ruff format --line-length 100 notebooks
	@$(PY) -m ruff check --fix

# The torch of a CPU install is 2.x+cpu: the part after the plus would shut out everybody else.
constraints: env-test ## keep the versions in .venv as those that the tests passed with
	@sed -n '/^#/p' constraints.txt > constraints.new
	@$(PY) -m pip freeze --exclude-editable --exclude uv --exclude pip --exclude setuptools | \
	  sed -e '/^[#-]/d' -e '/^nvidia-/d' -e '/^cuda-/d' -e '/^triton/d' -e 's/+[a-z0-9]*$$//' -e 's/$$/ ; python_version >= "3.11"/' >> constraints.new
	@mv constraints.new constraints.txt

clean: ## delete .venv and the caches; data and records stay
	rm -rf .venv .cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

env:
	@sh .ci/install.sh jupyter

env-test:
	@sh .ci/install.sh test
