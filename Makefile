# The two commands of the README, and commands for developers. Everything runs in .venv, made from pinned requirements.
.DELETE_ON_ERROR:
SHELL := /bin/bash
# What is installed below is imported by hundreds of processes, each of which would else compile all of it.
export PYTHONDONTWRITEBYTECODE :=
PYTHON ?= python3
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
VENV := .venv
BIN := $(VENV)/bin
# --no-compile below: bytecode is made for what is imported, not for 18,000 files, which takes a minute.
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.PHONY: help study new describe published imagenet-captions test lint lint-types lint-style lock clean img2dataset paper-check browser picture verify soak messages audit bench growth estimate compare peek cluster test-slurm forget

help:
	@echo "make study  run the default study (results/icons/report.html)"
	@echo "make new DATA=folder-or-table NAME=mine  write a config for your own data (docs/own-data.md)"
	@echo "make describe CONFIG=mine.yaml  say whether the data of a config are ready for training"
	@echo "make peek   its page from what is finished while it runs (peek/icons/results/icons/report.html); CONFIG=my.yaml for another study"
	@echo "make published  the five questions on ImageNet, from published models, in seconds (results/published/report.html)"
	@echo "make test   lint, type check and all tests, a smoke study among them"
	@echo "make lint   lint and type check only"
	@echo "make paper-check  the paper's study in minutes, on replicas of its archives; STUDY=paper-small for its affordable form"
	@echo "make imagenet-captions  build ImageNet-Captions from where it comes from (docs/imagenet-captions.md)"
	@echo "make estimate CONFIG=config/paper.yaml PROFILE=profiles/paper  estimate what a study costs, and the smallest effects that it could detect"
	@echo "make compare A=results/icons B=results/icons_seeds_5  two finished studies on one page: causes side by side, what differs, all models; OUTPUT=page.html"
	@echo "make verify  build the smoke study twice and compare every table, subset and checkpoint"
	@echo "make soak   kill the smoke study 50 times, then compare; about half an hour"
	@echo "make bench  compare the speed with the tools you would use otherwise; about half an hour (one row: ROW=photographs_64)"
	@echo "make growth  measure how time and memory grow with the number of pairs; a few minutes"
	@echo "make forget DAYS=30  remove finished work that no study has used for so many days (docs/cluster.md)"
	@echo "make messages  list every error and warning about inputs from the field (results/messages.md); some minutes"
	@echo "make audit  check the pinned packages for known vulnerabilities (needs a network)"
	@echo "make cluster  install the Snakemake plugins for SLURM and Kubernetes (docs/cluster.md)"
	@echo "make test-slurm  run the smoke study on a one-node SLURM that is started for the test; Debian, as root"
	@echo "make img2dataset  install the command that downloads images from lists of addresses"
	@echo "make browser  install a browser for the tests of the report page, if there is none"
	@echo "make picture  take the README's pictures of the report of the default study"
	@echo "make lock   update the pinned requirements"

# The package itself is installed without its dependencies: the pinned files name them all.
$(VENV)/study-installed: envs/requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --no-compile --require-hashes --requirement envs/requirements.txt
	$(PIP) install --no-compile --no-deps --no-build-isolation --editable .
	touch $@

# The peers of the benchmarks; no package of the workflow changes its version.
$(VENV)/bench-installed: $(VENV)/study-installed envs/bench.txt envs/clip-benchmark.txt
	$(PIP) install --no-compile --require-hashes --requirement envs/bench.txt
	$(PIP) install --no-compile --no-deps --require-hashes --requirement envs/clip-benchmark.txt
	touch $@

# Snakemake's plugins for clusters.
$(VENV)/cluster-installed: $(VENV)/study-installed envs/cluster.txt
	$(PIP) install --no-compile --require-hashes --requirement envs/cluster.txt
	touch $@

cluster: $(VENV)/cluster-installed

$(VENV)/test-installed: $(VENV)/bench-installed $(VENV)/cluster-installed envs/requirements-dev.txt
	$(PIP) install --no-compile --require-hashes --requirement envs/requirements-dev.txt
	touch $@

# Its many packages stay apart from the workflow's.
$(VENV)/img2dataset/installed: envs/img2dataset.txt
	$(PYTHON) -m venv $(VENV)/img2dataset
	$(VENV)/img2dataset/bin/pip --disable-pip-version-check --quiet install --no-compile --require-hashes --requirement envs/img2dataset.txt
	touch $@

img2dataset: $(VENV)/img2dataset/installed

# The paper's study in minutes, on replicas that a local server serves; STUDY=paper-small: its affordable form.
paper-check: $(VENV)/study-installed $(VENV)/img2dataset/installed
	mkdir -p replicas
	$(if $(filter paper-small,$(STUDY)),$(BIN)/python -m tests.small_replica > replicas/paper-small-check.yaml)
	$(BIN)/python tests/replicas.py replicas $(BIN)/snakemake --cores $(CORES) --configfile \
		$(if $(filter paper-small,$(STUDY)),replicas/paper-small-check.yaml,config/paper-check.yaml)

# ImageNet-Captions from ImageNet's list of addresses and Flickr's API, compared with what was published; it takes days and
# goes on where it was stopped. FLICKR_API_KEY in the environment has your key.
imagenet-captions: $(VENV)/study-installed
	$(BIN)/snakemake --cores 1 --configfile config/paper.yaml config/imagenet-captions.yaml -- results/imagenet_captions/compared.csv

# Estimated cost of a study: make estimate CONFIG=config/paper.yaml PROFILE=profiles/paper GPUS=8 GPU=A100 CORES=64
# (docs/scaling.md). IMAGES="test=500 other=200" says how many images data sets have of which nothing else does. Names of
# configs and folders may hold blanks and quotes here as in `new`.
estimate: $(VENV)/study-installed
	$(BIN)/python -m tools.estimate_cost "$${CONFIG:-config.yaml}" $${PROFILE:+--profile "$$PROFILE"} --gpu "$${GPU:-A100}" --gpus $(or $(GPUS),8) --cores $(CORES) $(if $(IMAGES),--images $(IMAGES))

# Folders of results; nothing is run for it.
compare: $(VENV)/study-installed
	$(if $(and $(A),$(B)),,$(error Name the results of two finished studies: make compare A=results/icons B=results/icons_seeds_5))
	$(BIN)/python -m tools.compare_studies "$$A" "$$B" $${OUTPUT:+--output "$$OUTPUT"}

# In a folder of its own, beside the study that runs; trains nothing.
peek: $(VENV)/study-installed
	$(BIN)/python -m tools.peek $${CONFIG:+--configfile "$$CONFIG"}

study: $(VENV)/study-installed
	$(BIN)/snakemake --cores $(CORES)

# Needs the committed tables only: no download, no training, no study.
published: $(VENV)/study-installed
	$(BIN)/snakemake --cores 1 --quiet all -- results/published/report.html
	@echo "Page: results/published/report.html"

# A config for data of one's own: make new DATA=my-data NAME=mine; two folders are two sources: DATA="one two". Names
# may hold blanks and quotes: what is given to make is in the environment, too.
new: $(VENV)/study-installed
	@$(if $(and $(NAME),$(DATA)),,$(error Say where the data are and how the study is called: make new DATA=folder-or-table NAME=mine))
	@$(BIN)/python -m tools.new_study --name "$$NAME" "$$DATA"

# Whether the data of a study are ready for training: a page, and the same in words.
describe: $(VENV)/study-installed
	@test -z "$$CONFIG" || test -f "$$CONFIG" || { echo "$$CONFIG: there is no such file: name the config of a study" >&2; exit 1; }
	$(BIN)/snakemake --cores $(CORES) --keep-going --forcerun check_data $${CONFIG:+--configfile "$$CONFIG"} -- check_data

forget: $(VENV)/study-installed
	$(BIN)/python -m tools.forget --days $(or $(DAYS),30)

# Side by side: the type check and the others use one core each.
lint: $(VENV)/test-installed
	$(MAKE) --no-print-directory --jobs $(CORES) lint-types lint-style

lint-types:
	$(BIN)/mypy

lint-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint
	$(BIN)/lint-imports

# The tests of the report page need a browser: an installed Chromium or Chrome, otherwise Debian's.
browser:
	@command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } || \
		{ echo "No browser is there and apt-get cannot install one: install Chromium or Chrome, then call make again"; exit 1; }

# Of the default study, which must have been run.
picture: $(VENV)/test-installed browser
	$(BIN)/python -m tools.take_picture results/icons/report.html docs/pictures

# Tests of one file stay on one worker, so that its studies run once; tests/conftest.py puts the longest files first.
# A worker more than cores: tests wait for jobs, servers and browsers.
test: lint $(VENV)/img2dataset/installed browser
	$(BIN)/python -m pytest --numprocesses $(shell expr $(CORES) + 1) --dist loadfile --no-loadscope-reorder

# Every error and warning that the inputs of the table in docs/reliability.md cause, on one page.
messages: $(VENV)/test-installed $(VENV)/img2dataset/installed
	$(BIN)/python -m pytest -p tests.messages

verify: $(VENV)/study-installed
	$(BIN)/python -m tests.verify

# No system service is started: the test starts and stops the daemons itself.
test-slurm: $(VENV)/cluster-installed
	@( for name in setpriv munged slurmctld slurmd sbatch srun squeue; do command -v $$name || exit 1; done ) >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge util-linux; } || \
		{ echo "No SLURM is there and apt-get cannot install one: install slurmctld, slurmd, slurm-client and munge as root"; exit 1; }
	$(BIN)/python -m tests.slurm_study

soak: $(VENV)/test-installed
	$(BIN)/python -m pytest -m soak -s

# The drawings of one row.
downloads/iconify.tgz: | $(VENV)/study-installed
	$(BIN)/snakemake --cores 1 --quiet all -- $@

bench: $(VENV)/bench-installed downloads/iconify.tgz
	$(BIN)/python -m benchmarks.run $(if $(ROW),--rows $(ROW))
	$(BIN)/python -m benchmarks.write_table

growth: $(VENV)/study-installed
	$(BIN)/python -m benchmarks.measure_growth
	$(BIN)/python -m benchmarks.write_table

$(VENV)/audit/installed: envs/audit.txt
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip --disable-pip-version-check --quiet install --no-compile --require-hashes --requirement envs/audit.txt
	touch $@

# The vulnerability database is on the web. --strict: a package that could not be looked up counts as a failure.
audit: $(VENV)/audit/installed
	@for file in requirements requirements-dev cluster clip-benchmark img2dataset bench audit; do \
	  echo "envs/$$file.txt"; \
	  $(VENV)/audit/bin/pip-audit --strict --disable-pip --no-deps --progress-spinner off --requirement envs/$$file.txt || { \
	    echo "make audit: envs/$$file.txt has known vulnerabilities (listed above), or not every package could be looked up (no network)"; \
	    exit 1; }; \
	done

lock: $(VENV)/test-installed
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header envs/requirements-dev.in --output-file envs/requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header envs/requirements.in --constraint envs/requirements-dev.txt --output-file envs/requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header envs/cluster.in --constraint envs/requirements-dev.txt --output-file envs/cluster.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header envs/img2dataset.in --output-file envs/img2dataset.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header envs/bench.in --constraint envs/requirements-dev.txt --output-file envs/bench.txt
	$(BIN)/python envs/conda_environments.py
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header envs/audit.in --output-file envs/audit.txt

clean:
	rm -rf results/*/ peek replicas .snakemake
