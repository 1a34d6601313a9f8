"""Denoisers and how to sample from them."""
