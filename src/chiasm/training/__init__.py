"""Trains a model on a folder of scans and writes a model folder."""
