"""What a sample looks like when its latents are sought: that of a training sample."""

import torch

from chiasm.image.intensity import IntensityMap
from chiasm.image.preparation import GridSettings
from chiasm.models import Model, ModelConfig
from stylegan import translator as stylegan
from stylegan.inversion import InversionSettings
from stylegan.method import METHOD


def translator(size, **options):
    config = ModelConfig(
        kind="translator",
        method="stylegan",
        target="T1w",
        grid=GridSettings(spacing=(2.0, 2.0, None)),
        network={"name": "style-generator", "arguments": {"features": [4, 4], "size": size}},
        settings={"inversion": {"iterations": 7}},
        intensity=IntensityMap(low=0, high=1, units="", background=0),
    )
    model = Model("tiny", None, config)
    model.__dict__["module"] = stylegan.StyleGAN.build(config)
    return stylegan.StyleGAN(model, METHOD.check(options))


def test_a_sample_is_padded_as_those_of_training_were(monkeypatch):
    seen = []

    def echo(generator, source, settings, on_step):
        seen.append(source)
        return source

    monkeypatch.setattr(stylegan, "invert", echo)
    # Three slices of context, of which the middle one is translated; one axis is larger.
    source = torch.rand(2, 3, 6, 12, generator=torch.Generator().manual_seed(0))
    result = translator([8, 10]).run(source, [0, 1], None)
    padded = torch.zeros(2, 1, 8, 12)
    padded[:, 0, :6] = source[:, 1]
    torch.testing.assert_close(seen[0], padded)
    torch.testing.assert_close(result, source[:, 1:2])


def test_iterations_are_the_runs_then_the_models():
    assert translator(None).inversion == InversionSettings(iterations=7)
    given = translator(None, iterations=3)
    assert given.evaluations() == 3
    assert given.settings()["inversion"]["iterations"] == 3
