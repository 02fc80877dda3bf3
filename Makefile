# Everyday commands. They need Python 3.10 or newer with pip and venv, and make; each makes first what it needs.
#   make PYTHON=/path/to/python3.12 install      chooses the interpreter that .venv is made with

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH_INDEX := https://download.pytorch.org/whl
comma := ,
LOCK_PYTHONS ?= python3.10 python3.11 python3.12 python3.13 python3.14
PYTEST_ARGS ?=
# glibc keeps what is freed, and asks the system for new pages less often: a tenth of the time of tests with images.
# One process more than there are cores: some tests wait, for Slurm, signals and other processes.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST := OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=8388608 MALLOC_TRIM_THRESHOLD_=1073741824 $(BIN)/python -m pytest \
  -n $(WORKERS) --maxprocesses 8 --dist worksteal

# pip's own progress in a terminal; in a log, a line for each package that is downloaded. Errors are on stderr.
# torch's index holds torch and some copies of other packages: only torch is looked up in it.
define pip_install
export PIP_EXTRA_INDEX_URL='$(if $(findstring --no-deps,$(1)),$(PIP_EXTRA_INDEX_URL),$(filter-out $(TORCH_INDEX)%,$(PIP_EXTRA_INDEX_URL)))'; \
if [ -t 1 ]; then $(PIP) install -c constraints.txt $(1); else \
  { $(PIP) install --progress-bar off -c constraints.txt $(1); echo "exit $$?"; } | while read -r word rest; do \
    case "$$word $$rest" in \
      exit\ *) exit "$$rest" ;; \
      *.metadata*) ;; \
      Downloading\ *|Using\ cached\ *|Processing\ *) echo "$$word $${rest%% (from *}" ;; \
      Installing\ collected\ *) set -- $$rest; echo "Installing $$(($$# - 2)) packages" ;; \
    esac; done; fi
endef

# What is expected. Outside of Linux torch has no CUDA packages.
CPU_BUILD := $(or $(findstring $(TORCH_INDEX)/cpu,$(PIP_EXTRA_INDEX_URL)),$(filter-out Linux,$(shell uname -s)))
SIZE := $(strip $(if $(CPU_BUILD),about 0.7 GB to download and 2.6 GB on disk the first time$(comma) 3 minutes at 100 Mbit/s,\
  about 3.2 GB to download and 7 GB on disk the first time$(comma) 6 minutes at 100 Mbit/s))
CUDA_HINT := $(if $(CPU_BUILD)$(PIP_EXTRA_INDEX_URL)$(shell command -v nvidia-smi 2>/dev/null),true,echo 'No NVIDIA GPU was found. \
  To spare 2.5 GB of CUDA packages: make install PIP_EXTRA_INDEX_URL=$(TORCH_INDEX)/cpu')

.DEFAULT_GOAL := help
.PHONY: help install demo test quick check site bench lock

help:
	@echo 'make install   the package and its tools into .venv, at the versions of constraints.txt'
	@echo 'make demo      fits, views and reposes example people; a page shows them, demo/index.html'
	@echo 'make test      the tests; PYTEST_ARGS="-k ledger" chooses some'
	@echo 'make quick     the tests without the mark slow, in under a minute'
	@echo 'make check     style, types and layers'
	@echo 'make site      the documentation as a site in site/; every warning is an error'
	@echo 'make bench     the figures of benchmarks/RESULTS.md, measured on this machine'
	@echo 'make lock      constraints.txt anew; needs $(LOCK_PYTHONS)'

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
	  { echo "$(PYTHON): is not Python 3.10 or newer, found $$($(PYTHON) --version 2>&1); make PYTHON=python3.13 $(or $(MAKECMDGOALS),install) chooses another one" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || rm -rf .venv  # none yet, half made, or moved here
	@test -d .venv || $(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "$(PYTHON): cannot make virtual environments; on Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo 'Installing into .venv: $(SIZE).'
	@$(CUDA_HINT)
	@case "$(PIP_EXTRA_INDEX_URL)" in *$(TORCH_INDEX)*) $(call pip_install,--no-deps torch);; esac
	@$(call pip_install,-e '.[dev]')
	@touch $@
	@echo 'Installed. Next: make demo, or . .venv/bin/activate and hpc --help'

demo: $(INSTALLED)
	@$(BIN)/hpc demo --out demo

test: $(INSTALLED)
	$(PYTEST) $(PYTEST_ARGS)

quick: $(INSTALLED)
	$(PYTEST) -m 'not slow' $(PYTEST_ARGS)

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.venv/.site: $(INSTALLED)
	@$(call pip_install,-e '.[docs]')
	@touch $@

site: .venv/.site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(INSTALLED)
	$(BIN)/python benchmarks/run.py

lock:
	$(PYTHON) tools/lock.py constraints.txt $(LOCK_PYTHONS)
