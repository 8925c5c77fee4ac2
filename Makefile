PYTHON ?= python3
VENV   ?= .venv
PEERS  ?= .venv-peers
BIN    := $(VENV)/bin
# one network of each idea that learns the digits in this time on any two cores
DEMO   := hog-svm alexnet cifar-plain-20 cifar-resnet-20
ARITHMETIC := $(addprefix tests/test_,$(addsuffix .py,arithmetic backends checkpoints modules optimizers prediction \
  recipes_run towers training validation whitening))

.PHONY: setup demo test test-avx2 test-slow check format bench bench-training bench-inference bench-serving \
  time-to-accuracy peers docs notebook clean

setup: $(VENV)/.ready

# why: --without-pip and the outer pip need no python3-venv, so that a bare Debian is enough; the constraint keeps torch
# at one release, whose CPU build pip finds where one is configured
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/topfive compare $(DEMO) --minutes 3 --seeds 1 --out runs/demo --report report.html

# why: one thread a process; two processes of two threads on two cores slow each other tenfold
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow and not peers'

# the tests of arithmetic as on a processor with AVX2 alone: what another has beyond that hides faults
test-avx2: setup
	OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 $(BIN)/python -m pytest -n 2 --dist loadfile \
	  -m 'not slow and not peers' $(ARITHMETIC)

test-slow: setup
	$(BIN)/python -m pytest -m slow

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check
	@wc -l $$(git ls-files 'topfive/*.py') | sort -n | tail -6

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/python docs/generate.py

# run docs/quickstart.ipynb anew and keep its outputs in it
notebook: setup
	$(PYTHON) -m pip --python $(BIN)/python install -q --disable-pip-version-check -c constraints.txt -e '.[notebook]'
	$(BIN)/python docs/execute_notebook.py

# torchvision and timm in an environment of their own: they would replace torch in ours
$(PEERS)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --without-pip $(PEERS)
	$(PYTHON) -m pip --python $(PEERS)/bin/python install -q --disable-pip-version-check -c constraints.txt \
	  torchvision timm torchinfo fvcore pandas -e '.[dev,openvino]'
	touch $@

peers: $(PEERS)/.ready
	$(PEERS)/bin/python -m pytest -m peers -s tests/peers

bench: $(PEERS)/.ready
	$(PEERS)/bin/python benchmarks/show.py
	$(PEERS)/bin/python benchmarks/loading.py

# some ten minutes; for the peers' rows, whose scripts are not in their packages: TIMM_TRAIN=path/to/timm/train.py,
# TORCHVISION_REFERENCE=path/to/vision/references/classification
bench-training: $(PEERS)/.ready
	$(PEERS)/bin/python benchmarks/training.py

# some fifteen minutes; TIMM_INFERENCE=path/to/timm/inference.py as above, RUNS=run folders of networks trained here
bench-inference: $(PEERS)/.ready
	$(PEERS)/bin/python benchmarks/inference.py $(RUNS)

# six minutes; a quiet machine of two cores or more, for the clients take a part of one
bench-serving: setup
	$(BIN)/python benchmarks/serving.py

# an hour and more for each seed; TIMM_TRAIN=path/to/timm/train.py as above, half an hour more for each
time-to-accuracy: $(PEERS)/.ready
	$(PEERS)/bin/python benchmarks/time_to_accuracy.py --seeds 3

clean:
	rm -rf $(VENV) $(PEERS) runs report.html
