# Everyday commands. They need Python 3.10 or newer with pip and venv, and make; each makes first what it needs.
#   make PYTHON=/path/to/python3.12 install      chooses the interpreter that .venv is made with

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
DEV := .venv/.dev
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH_BUILDS := https://download.pytorch.org/whl
TORCH_BUILD ?=
TORCH ?= torch
VERSIONS ?= newest
LOCK_PYTHONS ?= python3.10 python3.11 python3.12 python3.13 python3.14
PYTEST_ARGS ?=
# glibc keeps what is freed, and asks the system for new pages less often: a tenth of the time of tests with images.
# One process a core: each takes 15 seconds to start.
WORKERS ?= $(shell getconf _NPROCESSORS_ONLN)
PYTEST := OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=8388608 MALLOC_TRIM_THRESHOLD_=1073741824 $(BIN)/python -m pytest \
  -n $(WORKERS) --maxprocesses 8 --dist worksteal

# pip's own progress in a terminal; in a log, a line for each package that is downloaded. Errors are on stderr.
define pip_install
if [ -t 1 ]; then $(PIP) install -c constraints.txt $(1); else \
  { $(PIP) install --progress-bar off -c constraints.txt $(1); echo "exit $$?"; } | while read -r word rest; do \
    case "$$word $$rest" in \
      exit\ *) exit "$$rest" ;; \
      *.metadata*) ;; \
      Downloading\ *|Using\ cached\ *|Processing\ *) echo "$$word $${rest%% (from *}" ;; \
      Installing\ collected\ *) set -- $$rest; echo "Installing $$(($$# - 2)) packages" ;; \
    esac; done; fi
endef

# Sets `torch` to what pip installs first: on Linux without an NVIDIA driver the build without CUDA, from torch's index.
# That also holds copies of other packages, so only torch is looked up in it. The alarm ends a name server's silence.
define choose_torch
build='$(TORCH_BUILD)'; \
if [ -z "$$build" ] && [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then \
  if ($(PYTHON) -c 'import signal, urllib.request as u; signal.alarm(5); u.urlopen("$(TORCH_BUILDS)/cpu/torch/")') \
    >/dev/null 2>&1; then build=cpu; echo "No NVIDIA driver was found: torch's CPU build is installed." \
      'Another one: make $(or $(MAKECMDGOALS),install) TORCH_BUILD=cu130'; \
  else echo "No NVIDIA driver was found, but torch's CPU builds cannot be reached:" \
      "pip's own index is used ($(TORCH_BUILDS)/cpu does not answer)"; fi; \
fi; \
case "$$build" in ''|pip) torch='$(TORCH)';; *) torch="--index-url $(TORCH_BUILDS)/$$build $(TORCH)";; esac
endef

.DEFAULT_GOAL := help
.PHONY: help install demo test journeys test-all quick check fresh site bench lock

help:
	@echo 'make install   hpc into .venv, at the versions of constraints.txt; TORCH_BUILD=cpu, cu130 or pip chooses'
	@echo '               a build of torch, otherwise the CPU build is taken where there is no NVIDIA driver'
	@echo 'make demo      fits, views and reposes example people; a page shows them, demo/index.html'
	@echo 'make test      the tests of every room; PYTEST_ARGS="-k ledger" chooses some. This and what follows adds tools to'
	@echo '               .venv'
	@echo 'make journeys  types the commands of README and of the main guides in a shell, and compares figures'
	@echo 'make test-all  also tests with the mark extensive: all guides and tutorials, protocols, long trainings'
	@echo 'make quick     the tests without the mark slow, in two to three minutes'
	@echo 'make check     style, types and layers, and figures of the code'
	@echo 'make fresh     the wheel of the last commit, installed with the newest packages and tried, in a new environment;'
	@echo '               VERSIONS=lowest: with the oldest that pyproject.toml allows'
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
	@echo 'Installing into .venv: about 0.6 GB to download and 2.0 GB on disk; with CUDA 3 GB and 5.7 GB'
	@$(choose_torch); $(call pip_install,--no-deps $$torch)
	@$(call pip_install,-e .)
	@touch $@
	@echo 'Installed. Next: make demo, or . .venv/bin/activate and hpc --help'

$(DEV): $(INSTALLED)
	@echo 'Installing what tests and checks need into .venv'
	@$(call pip_install,-e '.[dev]')
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/hpc demo --out demo

test: $(DEV)
	$(PYTEST) -m 'not extensive' --ignore=tests/journeys $(PYTEST_ARGS)

journeys: $(DEV)
	$(PYTEST) -m 'not extensive' tests/journeys $(PYTEST_ARGS)

test-all: $(DEV)
	$(PYTEST) $(PYTEST_ARGS)

quick: $(DEV)
	$(PYTEST) -m 'not slow' $(PYTEST_ARGS)

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff check --preview --select PLW1514 humanpose_cli
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/house.py

fresh:
	@$(choose_torch); $(PYTHON) tools/check_distributions.py --wheel-only --versions $(VERSIONS) --torch "$$torch"

.venv/.site: $(INSTALLED)
	@$(call pip_install,-e '.[docs]')
	@touch $@

site: .venv/.site
	$(BIN)/python tools/site/pages.py build/pages
	$(BIN)/zensical build --clean --strict

bench: $(DEV)
	$(BIN)/python benchmarks/run.py

lock:
	$(PYTHON) tools/lock.py constraints.txt $(LOCK_PYTHONS)
