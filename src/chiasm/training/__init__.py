"""From a folder of scans of one modality to a model folder."""
