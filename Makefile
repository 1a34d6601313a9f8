# `make demo` and `make test` are the commands of the README. Both install the package first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PHANTOMS := data/phantoms

.PHONY: install demo test test-all docs lint models gpu clean

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
	$(BIN)/python -m pytest -m "not long" -n 2 --dist loadfile

# All tests, including those that take minutes: complete trainings, the documented commands, and programs
# of others such as validators and Ray. Debian's dicom3tools adds one more.
test-all: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[interoperability]"
	$(BIN)/python -m pytest -n 2 --dist loadfile
	$(MAKE) -C benchmarks test

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build
	@echo "wrote docs/_build/index.html"

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[docs]"
	touch $@

lint: install
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

# Train the shipped models, each by its recipe: `make models ANATOMIES=DIR`. DIR holds the 20 label
# maps of SynthSeg (Billot et al. 2023, Apache-2.0): data/training_label_maps of the repository
# BBillot/SynthSeg on GitHub. Models of digital brains do not need it; their brains are made first.
# `make -C benchmarks` makes the tables of results and the models compared in them.
RECIPES := src/chiasm/training/recipes
RUNS := runs
ANATOMIES ?=
# brain-any is trained on brains of all modalities.
PAIRS := data/phantoms-all
MODALITIES := T1,T2,PD,FLAIR

# What benchmarks/ablation.py learns from.
$(PHANTOMS)/participants.tsv: | install
	$(BIN)/chiasm phantom -o $(PHANTOMS) --subjects 48 --seed 1 --modalities T1 --spacing 2

$(PAIRS)/participants.tsv: | install
	$(BIN)/chiasm phantom -o $(PAIRS) --subjects 48 --seed 1 --spacing 2

SHIPPED := brain-t1 brain-t1-tissue brain-t1-lmi brain-any

models: $(SHIPPED:%=$(RUNS)/%/model.safetensors)

# These draw heads from label maps. The segmenter begins with the weights of the default translator.
$(RUNS)/brain-t1/model.safetensors $(RUNS)/brain-t1-tissue/model.safetensors $(RUNS)/brain-t1-lmi/model.safetensors: | install
	@test -n "$(ANATOMIES)" || { echo "make: ANATOMIES is not set; legal: ANATOMIES=DIR, a folder of label maps of heads (see the Makefile)"; exit 2; }
	$(BIN)/chiasm train -i $(ANATOMIES) -o $(@D) --target T1 --method $(METHOD) --config $(RECIPES)/$(notdir $(@D)).yaml $(BEGIN) $(TRAIN)

$(RUNS)/brain-t1/model.safetensors: METHOD := regression
$(RUNS)/brain-t1-lmi/model.safetensors: METHOD := lmi-diffusion
$(RUNS)/brain-t1-tissue/model.safetensors: METHOD := segmenter
$(RUNS)/brain-t1-tissue/model.safetensors: BEGIN := pretrained=$(RUNS)/brain-t1
$(RUNS)/brain-t1-tissue/model.safetensors: $(RUNS)/brain-t1/model.safetensors

$(RUNS)/brain-any/model.safetensors: $(PAIRS)/participants.tsv
	$(BIN)/chiasm train -i $(PAIRS) -o $(@D) --method aldm --modalities $(MODALITIES) --config $(RECIPES)/brain-any.yaml $(TRAIN)

# Checks that need a GPU: compare the LMI operator with the CPU, then train the shipped recipes.
gpu:
	python3 benchmarks/gpu.py --output $(if $(OUT),$(OUT),runs/gpu) $(if $(ANATOMIES),--anatomies $(ANATOMIES))

clean:
	rm -rf $(VENV) demo
