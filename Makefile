# make demo: the whole pipeline on real data.   make test: the test suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test check install clean

demo: $(READY)
	@snakemake --configfile config/demo.yaml --quiet rules
	@echo
	@echo "Catalogues:"
	@ls results/demo/*/catalogue.fits results/demo/*/catalogue.ecsv
	@echo "Regions, for DS9 and CARTA:"
	@ls results/demo/*/catalogue.reg
	@echo "Report:"
	@ls results/demo/report.html

test: $(READY)
	@OMP_NUM_THREADS=1 python -m pytest -q -n 2 --dist loadfile

check: $(READY)
	@ruff check .
	@ruff format --check .
	@snakefmt --check Snakefile rules
	@snakemake --lint

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Fleming needs Python 3.11 or newer; name one by: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	@echo "Installing the pinned versions into $(VENV) (once, some minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[develop]'
	@touch $@

clean:
	rm -rf $(VENV) results .snakemake
