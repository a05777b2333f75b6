# Each target makes the environment that it needs, .venv, when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
SITE := build/docs
NATIVE_SOURCES := $(shell find native -type f)
CXX_SOURCES := $(filter %.h %.cpp,$(NATIVE_SOURCES))
# The tests start hundreds of processes, and each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check heavy docs check-pages check-serving attack-serving check-cluster sanitize avx512 check-tuning bench-kernels aarch64 install wheel format reference notebooks clean
.DEFAULT_GOAL := help

help:
	@echo "make demo     train the paper's networks on handwritten digits and make two pages about them"
	@echo "make test     everything that CI runs (make check is the same)"
	@echo "make heavy    the tests that take long: full-size networks, processes killed at many moments"
	@echo "make docs     the documentation as a website in $(SITE) (EXECUTE=off: without running the notebooks)"
	@echo "make check-pages  the HTML pages and the website in a browser, if there is one, in a wide and a narrow window"
	@echo "make check-serving  the page of \`verydeep serve\` used in a browser, and searched for barriers"
	@echo "make attack-serving  its API: 10,000 generated requests, 2,000 damaged images, Triton's client"
	@echo "make check-cluster  Predictor in Ray on two local nodes, one of which is killed half-way"
	@echo "make install  the environment in $(VENV), with the verydeep command"
	@echo "make wheel    the wheel and the source archive in dist, tested without a compiler (IMAGE=FILE CLASS=NAME)"
	@echo "make sanitize the kernels under the address, undefined-behaviour and thread sanitizers"
	@echo "make avx512   the AVX-512 kernels tested on a processor that lacks it, each instruction a loop"
	@echo "make check-tuning   the kernels tested with other tuning constants than those of native/tuning.h"
	@echo "make bench-kernels  each kernel's speed as a share of what this machine gives at best (ARGS='--json FILE')"
	@echo "make aarch64  the kernels built for aarch64 and run under qemu (g++-aarch64-linux-gnu, qemu-user-static)"
	@echo "make format   bring the code into its form"
	@echo "make reference  write docs/reference/commands and docs/reference/python from the code"
	@echo "make notebooks  run the tutorials' notebooks and store their outputs"

# A photograph folder would do as well: verydeep study photos --out STUDY --data PHOTOS.
demo: $(VENV)/.installed
	rm -rf $(DEMO)
	$(BIN)/verydeep study digits --out $(DEMO)/study
	$(BIN)/verydeep report $(DEMO)/study/tests/A-seed0.dense.36.npz $(DEMO)/study/tests/D-seed0.dense.36.npz \
		--page $(DEMO)/index.html --models $(DEMO)/study/runs/A-seed0 $(DEMO)/study/runs/D-seed0 --data digits
	@echo
	@echo "Open the pages: $(CURDIR)/$(DEMO)/index.html, two of the networks and what they see,"
	@echo "  and $(CURDIR)/$(DEMO)/study/index.html, all of them in the paper's tables, and its claims"
	@echo
	@echo "Next, your own photographs, in a folder with a folder for each class:"
	@echo "  $(BIN)/verydeep transfer tiny-imagenet PHOTOS --out runs/quick   # in seconds"
	@echo "  $(BIN)/verydeep train PHOTOS runs/photos --from tiny-imagenet    # in minutes"
	@echo "  $(BIN)/verydeep evaluate runs/photos PHOTOS"
	@echo "  $(BIN)/verydeep predict runs/photos IMAGE --maps maps"

test check: $(VENV)/.installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CXX_SOURCES)
	$(BIN)/pytest -n 2 --dist worksteal --durations 20 -m "not heavy"

# Full-size networks of which a test has one already, and processes that are killed at many moments.
heavy: $(VENV)/.installed-for-tests
	$(BIN)/pytest -n 2 --dist worksteal --durations 20 -m heavy

# Warnings are errors, links to pages and headings are checked, and nothing is fetched.
EXECUTE ?= force
docs: $(VENV)/.installed-for-docs
	$(BIN)/python tests/reference.py
	HF_HUB_OFFLINE=1 $(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html \
		-D nb_execution_mode=$(EXECUTE) docs $(SITE)
	@echo "Open $(CURDIR)/$(SITE)/index.html"

check-pages: $(VENV)/.installed-for-tests
	$(BIN)/python tests/check_pages.py

check-serving: $(VENV)/.installed-for-browser
	$(BIN)/python tests/browse_serving.py

attack-serving: $(VENV)/.installed-for-clients
	$(BIN)/python tests/attack_serving.py

check-cluster: $(VENV)/.installed-for-cluster
	$(BIN)/python benchmarks/cluster.py

# A program of its own, as a sanitizer has to be the first thing in a process.
sanitize:
	mkdir -p build
	for kind in address,undefined thread; do \
		cmake -S native -B build/sanitize-$$kind -DVERYDEEP_CHECK=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo \
			-DVERYDEEP_KERNEL_OPTIMIZATION=-O1 \
			-DCMAKE_CXX_FLAGS="-fsanitize=$$kind -fno-sanitize-recover=all -fno-omit-frame-pointer" >build/sanitize.log \
		&& cmake --build build/sanitize-$$kind --target check_kernels --parallel 2 >build/sanitize.log \
		&& build/sanitize-$$kind/check_kernels || exit 1; \
	done

avx512:
	mkdir -p build
	cmake -S native -B build/avx512 -DVERYDEEP_CHECK=ON -DVERYDEEP_EMULATE=ON >build/avx512.log
	cmake --build build/avx512 --target check_kernels --parallel 2 >build/avx512.log
	build/avx512/check_kernels

check-tuning:
	mkdir -p build
	cmake -S native -B build/check-tuning -DVERYDEEP_CHECK=ON \
		-DVERYDEEP_TUNING_HEADER=$(CURDIR)/native/tools/other_tuning.h >build/check-tuning.log
	cmake --build build/check-tuning --target check_kernels --parallel 2 >build/check-tuning.log
	build/check-tuning/check_kernels 200

bench-kernels:
	mkdir -p build
	cmake -S native -B build/bench-kernels -DVERYDEEP_CHECK=ON >build/bench-kernels.log
	cmake --build build/bench-kernels --target bench_kernels --parallel 2 >build/bench-kernels.log
	build/bench-kernels/bench_kernels $(ARGS)

aarch64:
	mkdir -p build
	cmake -S native -B build/aarch64 -DVERYDEEP_CHECK=ON -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
		-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DCMAKE_EXE_LINKER_FLAGS=-static >build/aarch64.log
	cmake --build build/aarch64 --target check_kernels --parallel 2 >build/aarch64.log
	qemu-aarch64-static build/aarch64/check_kernels

install: $(VENV)/.installed

# The wheel is built from the source archive, so both are tested.
wheel: | $(BIN)/python
	$(BIN)/python -m venv build/packaging
	build/packaging/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build twine
	rm -rf dist
	build/packaging/bin/python -m build
	build/packaging/bin/python -m twine check --strict dist/*
	build/packaging/bin/python tools/check_wheel.py dist/*.whl $(IMAGE) $(CLASS)

format: $(VENV)/.installed-for-tests
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_SOURCES)

# The pages of commands and public names, which a test compares with the code.
reference: $(VENV)/.installed-for-tests
	$(BIN)/python tests/reference.py

# Minutes; the outputs are stored, so that they are seen where nothing runs.
notebooks: $(VENV)/.installed-for-docs
	$(BIN)/python tools/notebooks.py

clean:
	rm -rf $(VENV) $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "verydeep needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another by: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt $(NATIVE_SOURCES) | $(BIN)/python
	@echo "Installing into $(VENV); PyTorch is large, this takes a minute or two."
	$(BIN)/python tools/install.py '.[train,report]'
	@touch $@

$(VENV)/.installed-for-tests: pyproject.toml constraints.txt $(NATIVE_SOURCES) | $(BIN)/python
	@echo "Installing into $(VENV), with the peers that the tests compare with; this takes a minute or two."
	$(BIN)/python tools/install.py '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-for-cluster: pyproject.toml constraints.txt $(NATIVE_SOURCES) | $(BIN)/python
	@echo "Installing into $(VENV), with Ray; this takes a minute or two."
	$(BIN)/python tools/install.py '.[cluster]'
	@touch $@

$(VENV)/.installed-for-browser: pyproject.toml constraints.txt $(NATIVE_SOURCES) | $(BIN)/python
	@echo "Installing into $(VENV), with Playwright; this takes a minute or two."
	$(BIN)/python tools/install.py '.[browser]'
	@touch $@

$(VENV)/.installed-for-clients: pyproject.toml constraints.txt $(NATIVE_SOURCES) | $(BIN)/python
	@echo "Installing into $(VENV), with schemathesis and Triton's client; this takes a minute or two."
	$(BIN)/python tools/install.py '.[clients]'
	@touch $@

$(VENV)/.installed-for-docs: pyproject.toml constraints.txt $(NATIVE_SOURCES) | $(BIN)/python
	@echo "Installing into $(VENV), with Sphinx; this takes a minute or two."
	$(BIN)/python tools/install.py '.[docs]'
	@touch $@
