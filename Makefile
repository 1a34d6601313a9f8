# The two commands of the README: `make demo` and `make test`. Both install first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PHANTOMS := data/phantoms

.PHONY: install demo test lint models benchmarks gpu clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	touch $@

demo: install
	$(BIN)/chiasm demo -o demo --overwrite

test: install
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

# The shipped models, from nothing: the digital brains they learn from, then each model by its recipe.
RECIPES := src/chiasm/training/recipes
RUNS := runs

$(PHANTOMS)/participants.tsv: | install
	$(BIN)/chiasm phantom -o $(PHANTOMS) --subjects 48 --seed 1 --modalities T1 --spacing 2

models: $(PHANTOMS)/participants.tsv
	$(BIN)/chiasm train -i $(PHANTOMS) -o $(RUNS)/brain-t1-tissue --target T1 --method segmenter --config $(RECIPES)/brain-t1-tissue.yaml $(TRAIN)
	$(BIN)/chiasm train -i $(PHANTOMS) -o $(RUNS)/brain-t1 --target T1 --method regression --config $(RECIPES)/brain-t1.yaml $(TRAIN)
	$(BIN)/chiasm train -i $(PHANTOMS) -o $(RUNS)/brain-t1-lmi --target T1 --method lmi-diffusion --config $(RECIPES)/brain-t1-lmi.yaml $(TRAIN)

# For comparison, not shipped: the same diffusion under the published operator.
PUBLISHED := $(RUNS)/brain-t1-lmi-published

$(PUBLISHED)/model.safetensors: | $(PHANTOMS)/participants.tsv
	$(BIN)/chiasm train -i $(PHANTOMS) -o $(PUBLISHED) --target T1 --method lmi-diffusion --config $(RECIPES)/brain-t1-lmi-published.yaml $(TRAIN)

benchmarks: $(PUBLISHED)/model.safetensors
	$(BIN)/python benchmarks/phantom.py --model "lmi-diffusion published=$(PUBLISHED)"

# What only a GPU can show, in one call: the LMI operator against the CPU, then the shipped recipes.
gpu:
	python3 benchmarks/gpu.py --output $(if $(OUT),$(OUT),runs/gpu)

clean:
	rm -rf $(VENV) demo
