# The two commands of the README: `make demo` and `make test`. Both install first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PHANTOMS := data/phantoms

.PHONY: install demo test lint models baselines any any-baselines any-benchmarks any-real benchmarks gpu clean

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

# For comparison, not shipped: what else learns from the same subjects. Those that read source images
# need brains of all modalities.
PAIRS := data/phantoms-all
SOURCES := PD,T2,FLAIR
UNSEEN := data/unseen

$(PAIRS)/participants.tsv: | install
	$(BIN)/chiasm phantom -o $(PAIRS) --subjects 48 --seed 1 --spacing 2

$(UNSEEN)/participants.tsv: | install
	$(BIN)/chiasm phantom -o $(UNSEEN) --subjects 20 --seed 90000 --spacing 1

$(RUNS)/brain-t1-%/model.safetensors: $(PAIRS)/participants.tsv
	$(BIN)/chiasm train -i $(PAIRS) -o $(@D) --target T1 --config $(RECIPES)/brain-t1-$*.yaml $(METHOD) $(TRAIN)

$(RUNS)/brain-t1-lmi-published/model.safetensors: METHOD := --method lmi-diffusion
$(RUNS)/brain-t1-any-contrast/model.safetensors: METHOD := --method contrast-agnostic
$(RUNS)/brain-t1-joint/model.safetensors: METHOD := --method joint-segmenter
$(RUNS)/brain-t1-paired/model.safetensors: METHOD := --method paired --sources $(SOURCES)
$(RUNS)/brain-t1-stylegan/model.safetensors: METHOD := --method stylegan

# One for each source: the way back must know which modality it makes.
$(RUNS)/brain-t1-cyclegan-%/model.safetensors: $(PAIRS)/participants.tsv
	$(BIN)/chiasm train -i $(PAIRS) -o $(@D) --target T1 --config $(RECIPES)/brain-t1-cyclegan.yaml --method cyclegan --sources $* $(TRAIN)

COMMA := ,
EMPTY :=
SPACE := $(EMPTY) $(EMPTY)
CYCLEGANS := $(addprefix cyclegan-,$(subst $(COMMA), ,$(SOURCES)))
BASELINES := lmi-published any-contrast joint paired $(CYCLEGANS) stylegan

baselines: $(BASELINES:%=$(RUNS)/brain-t1-%/model.safetensors)

# ALDM from any of four modalities to any other, and what it is compared with: plain latent diffusion
# on the same autoencoder, for about as long as brain-any's translator and diffusion together; and paired
# regressions, one for each target, all four for about three quarters of brain-any.
MODALITIES := T1,T2,PD,FLAIR
PAIRED := $(foreach to,$(subst $(COMMA), ,$(MODALITIES)),paired-to-$(to))

any: $(RUNS)/brain-any/model.safetensors
any-baselines: $(foreach name,brain-any-plain any-without-PD $(PAIRED),$(RUNS)/$(name)/model.safetensors)

$(RUNS)/brain-any/model.safetensors: $(PAIRS)/participants.tsv
	$(BIN)/chiasm train -i $(PAIRS) -o $(@D) --method aldm --modalities $(MODALITIES) --config $(RECIPES)/brain-any.yaml $(TRAIN)

$(RUNS)/brain-any-plain/model.safetensors: $(RUNS)/brain-any/model.safetensors
	$(BIN)/chiasm train -i $(PAIRS) -o $(@D) --method aldm --modalities $(MODALITIES) --config $(RECIPES)/brain-any.yaml pretrained=$(RUNS)/brain-any stages.autoencoder.iterations=0 latent.translator=null diffusion.residual=false stages.diffusion.iterations=1950 $(TRAIN)

# It has never seen PD: what --steering and random contrast make of a new modality.
$(RUNS)/any-without-PD/model.safetensors: $(PAIRS)/participants.tsv
	$(BIN)/chiasm train -i $(PAIRS) -o $(@D) --method aldm --modalities T1,T2,FLAIR --config $(RECIPES)/brain-any.yaml stages.translator.iterations=3000 $(TRAIN)

$(RUNS)/paired-to-%/model.safetensors: $(PAIRS)/participants.tsv
	$(BIN)/chiasm train -i $(PAIRS) -o $(@D) --method paired --target $* --sources $(subst $(SPACE),$(COMMA),$(filter-out $*,$(subst $(COMMA), ,$(MODALITIES)))) --config $(RECIPES)/brain-t1-paired.yaml iterations=1930 $(TRAIN)

WHOLE := data/unseen-whole

$(WHOLE)/participants.tsv: | install
	$(BIN)/chiasm phantom -o $(WHOLE) --subjects 6 --seed 90000 --spacing 2

any-benchmarks: any any-baselines $(WHOLE)/participants.tsv
	$(BIN)/python benchmarks/aldm.py --data $(WHOLE) --subjects 4 --model aldm=$(RUNS)/brain-any --model "plain latent diffusion=$(RUNS)/brain-any-plain" --model "estimate alone=$(RUNS)/brain-any@start=estimate" --model "paired=$(subst $(SPACE),$(COMMA),$(PAIRED:%=$(RUNS)/%))" --model "paired with detail=$(subst $(SPACE),$(COMMA),$(PAIRED:%=$(RUNS)/%))@detail=true" --model regression=brain-t1
	$(BIN)/python benchmarks/aldm.py --data $(WHOLE) --subjects 3 --pairs "PD>T1,PD>T2" --save aldm_unseen --model "random contrast=$(RUNS)/any-without-PD" --model "steered in 3D=$(RUNS)/any-without-PD@steering=0.3" --model "steered by slices=$(RUNS)/any-without-PD@steering=0.3@slices=true" --model lmi-diffusion=brain-t1-lmi --model regression=brain-t1
	$(BIN)/python benchmarks/aldm.py --data $(WHOLE) --subjects 1 --pairs "T2>T1,FLAIR>T1,T1>T2" --save aldm_steps $(foreach steps,1 2 4 8 20 200,--model "$(steps) steps=$(RUNS)/brain-any@steps=$(steps)")
	$(BIN)/python benchmarks/aldm_losses.py --data $(PAIRS) --unseen $(WHOLE) --iterations 100
	$(BIN)/python benchmarks/aldm_cost.py

# The same on real brains, with tumours and with MS: `make any-real DATA=DIR`. DIR holds brats2018, brats_gli and
# open_ms; five subjects train, one validates, the others test.
BRATS := T1,T2,T1ce,FLAIR
TRAINED := subject01,subject02,subject03,subject04,subject05

$(RUNS)/any-brats/model.safetensors: | install
	$(BIN)/chiasm train -i $(DATA)/brats2018 -o $(@D) --method aldm --modalities $(BRATS) --config $(RECIPES)/brain-any.yaml pretrained=brain-any "train_subjects=[$(TRAINED)]" "validation_subjects=[subject06]" stages.autoencoder.iterations=300 stages.translator.iterations=1200 stages.diffusion.iterations=60 $(TRAIN)

any-real: $(RUNS)/any-brats/model.safetensors
	$(BIN)/python benchmarks/aldm.py --data $(DATA)/brats2018 --data $(DATA)/brats_gli --data $(DATA)/open_ms/mni_1mm --only subject07,subject08,brats_gli,patient07 --modalities $(BRATS) --save aldm_real --model aldm=$(RUNS)/any-brats --model "brain-any, digital brains alone=brain-any" --model regression=brain-t1

benchmarks: baselines $(PHANTOMS)/participants.tsv $(UNSEEN)/participants.tsv
	$(BIN)/python benchmarks/phantom.py --model "lmi-diffusion published=$(RUNS)/brain-t1-lmi-published"
	$(BIN)/python benchmarks/fidelity.py --data $(UNSEEN) $(foreach name,any-contrast joint paired $(CYCLEGANS),--model $(name)=$(RUNS)/brain-t1-$(name)) --model published=$(RUNS)/brain-t1-lmi-published --model "paired with detail=$(RUNS)/brain-t1-paired@detail=true" --model stylegan=$(RUNS)/brain-t1-stylegan@steps=40
	$(BIN)/python benchmarks/trust.py --sampled 2 --slices 4
	$(BIN)/python benchmarks/steps.py
	$(BIN)/python benchmarks/planes.py
	$(BIN)/python benchmarks/ablation.py --data $(PHANTOMS)

# What only a GPU can show, in one call: the LMI operator against the CPU, then the shipped recipes.
gpu:
	python3 benchmarks/gpu.py --output $(if $(OUT),$(OUT),runs/gpu)

clean:
	rm -rf $(VENV) demo
