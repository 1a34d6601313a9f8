"""Makes a model folder of nnU-Net with random weights. It runs in the environment of nnU-Net.

    python3 -m venv nnunet && nnunet/bin/pip install nnunetv2
    nnunet/bin/python benchmarks/nnunet_model.py SCANS OUTPUT

SCANS holds pairs ``NAME_T1w.nii.gz`` and ``NAME_dseg.nii.gz`` in any folders below it, as
``chiasm phantom`` writes them. nnU-Net plans a 2D network for them, makes its trainer and saves a
checkpoint before the first iteration. The labels of such a model mean nothing, but the folder is
what nnU-Net's own program reads.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

NAME = "Dataset501_Random"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path)
    parser.add_argument("output", type=Path)
    chosen = parser.parse_args()
    output = chosen.output.resolve()
    folders = {
        name: output / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
    }
    for name, folder in folders.items():  # read when nnunetv2 is imported
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder)

    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )
    from nnunetv2.run.run_training import get_trainer_from_args

    raw = folders["nnUNet_raw"] / NAME
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True, exist_ok=True)
    labels = sorted(chosen.scans.rglob("*_dseg.nii.gz"))
    for number, path in enumerate(labels):
        image = path.with_name(path.name.replace("_dseg", "_T1w"))
        shutil.copy(image, raw / "imagesTr" / f"scan_{number:03d}_0000.nii.gz")
        shutil.copy(path, raw / "labelsTr" / f"scan_{number:03d}.nii.gz")
    if not labels:
        parser.error(f"scans {chosen.scans}: holds no label map; legal: NAME_dseg.nii.gz")
    dataset = {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, "csf": 1, "grey": 2, "white": 3},
        "numTraining": len(labels),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    extract_fingerprints([501], num_processes=1, check_dataset_integrity=False)
    plan_experiments([501])
    preprocess([501], configurations=["2d"], num_processes=[1])
    torch.manual_seed(0)
    trainer = get_trainer_from_args(NAME, "2d", "all", device=torch.device("cpu"))
    trainer.initialize()
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    folder = Path(trainer.output_folder).parent
    for name, made in (("plans.json", "nnUNetPlans.json"), ("dataset.json", "dataset.json")):
        shutil.copy(folders["nnUNet_preprocessed"] / NAME / made, folder / name)
    print(folder)


if __name__ == "__main__":
    main()
