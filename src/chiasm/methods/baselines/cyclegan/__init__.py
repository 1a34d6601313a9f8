"""CycleGAN is a network trained on unpaired source images (Zhu et al., ICCV 2017)."""

from chiasm.methods.method import Method
from chiasm.methods.options import DeterministicOptions

METHOD = Method(
    name="cyclegan",
    translator="chiasm.methods.baselines.cyclegan.translator:CycleGAN",
    options=DeterministicOptions,
    objective="chiasm.methods.baselines.cyclegan.objective:CycleGANObjective",
    runs=("cyclegan",),
)
