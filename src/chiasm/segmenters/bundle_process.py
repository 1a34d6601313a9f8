"""Runs a MONAI bundle on one scan: FOLDER SCAN OUTPUT_FOLDER DEVICE.

It needs neither ignite nor fire. The names of its parts are those of MONAI's model zoo:
``preprocessing``, ``network_def`` (or ``network``), ``inferer`` and ``postprocessing``, whose
SaveImaged writes below ``output_dir``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from chiasm.segmenters.bundle import METADATA, inference_of

_WEIGHTS = ("models/model.pt", "models/model.pth")


def main(folder: Path, scan: str, output: str, device: str) -> None:
    """Run the bundle; what cannot be done ends the program with one line."""
    import torch
    from monai.bundle import ConfigParser
    from monai.utils import set_determinism

    set_determinism(0)
    parser = ConfigParser()
    parser.read_config(str(inference_of(folder)))
    parser.read_meta(str(folder / METADATA))
    given = {"bundle_root": str(folder), "output_dir": output, "datalist": [scan]}
    for name, value in given.items():
        parser[name] = value
    parser["device"] = f"$torch.device('{device}')"
    sys.path.insert(0, str(folder))  # bundles import their own `scripts`
    where = torch.device(device)
    network = _network(parser, folder, where)
    before, infer, after = (
        _part(parser, name) for name in ("preprocessing", "inferer", "postprocessing")
    )
    data: Any = before({"image": scan})
    with torch.inference_mode():
        data["pred"] = infer(data["image"][None].to(where), network)[0]
    after(data)


def _part(parser: Any, name: str) -> Any:
    if name not in parser:
        raise SystemExit(f"its inference config has no {name}")
    return parser.get_parsed_content(name, instantiate=True)


def _network(parser: Any, folder: Path, device: Any) -> Any:
    """The network with its weights: a TorchScript file, or the config's network and its weights."""
    import torch

    name = next((one for one in ("network_def", "network") if one in parser), None)
    if name is None:
        raise SystemExit("its inference config has no network_def")
    network = _part(parser, name)
    found = next((folder / one for one in _WEIGHTS if (folder / one).is_file()), None)
    if found is not None and not isinstance(network, torch.jit.ScriptModule):
        state = torch.load(found, map_location=device, weights_only=True)
        for key in ("model", "state_dict"):
            state = state.get(key, state)
        network.load_state_dict(state)
    elif found is None and not isinstance(network, torch.jit.ScriptModule):
        script = folder / "models" / "model.ts"
        if not script.is_file():
            raise SystemExit(f"it has none of {', '.join((*_WEIGHTS, 'models/model.ts'))}")
        network = torch.jit.load(str(script), map_location=device)  # type: ignore[no-untyped-call]
    return network.to(device).eval()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:5])
