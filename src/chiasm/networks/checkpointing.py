"""Gradient checkpointing: activations recomputed in the backward pass; less memory, more time."""

from __future__ import annotations

from monai.networks.nets.basic_unet import TwoConv
from monai.networks.nets.diffusion_model_unet import DiffusionUNetResnetBlock
from monai.networks.nets.vqvae import VQVAEResidualUnit
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from chiasm.networks.ms_spade import SPADEBlock

# Each holds most of what its network's backward pass needs, and little of it goes in and out.
BLOCKS = (TwoConv, DiffusionUNetResnetBlock, VQVAEResidualUnit, SPADEBlock)


def checkpoint_blocks(module: nn.Module) -> int:
    """Keep of every block of the networks what goes in alone; returns how many there are.

    Results, gradients and the state that is saved stay what they were.
    """
    inner = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if isinstance(child, BLOCKS)
    ]
    for parent, name, child in inner:
        setattr(parent, name, checkpoint_wrapper(child))
    return len(inner)
