"""The card of a freshly trained model: what it is, what it was trained on, its limits."""

from __future__ import annotations

from chiasm.models import ModelConfig


def card(config: ModelConfig, name: str) -> str:
    """A model card in Markdown from the config alone; scores are added by the benchmarks."""
    facts = config.training
    settings = facts.get("settings", {})
    subjects = facts.get("subjects", {})
    brains = "skull-stripped brains alone" if config.brain_only else "whole heads"
    brains += ", under any contrast" if config.any_contrast else ""
    spacing = "×".join("own" if s is None else f"{s:g}" for s in config.grid.spacing)
    sources = settings.get("sources", [])
    read = f"{facts.get('samples')} samples, {config.target} "
    read += f"beside {', '.join(sources)}" if sources else "alone"
    loss = f"loss {facts.get('validation_loss'):.4f}"
    detail = "\n| detail | the scan's own, put back |" if config.detail else ""
    made = ", ".join(config.targets or [config.target])
    draws = f"batch {settings.get('batch')}, seed {settings.get('seed')}"
    taken = facts.get("pretrained")
    begun = f"\n| began with | {taken} |" if taken else ""
    stages = (
        f"{name} {cost['seconds']} s, {cost['memory_mb']} MiB"
        for name, cost in facts.get("earlier", {}).items()
    )
    before = "; ".join(stages)
    before = f"\n| stages before | {before} |" if before else ""
    peak = facts.get("memory_mb")
    memory = f", {peak} MiB at the peak" if peak else ""
    return f"""# {name}

A {config.kind} (`{config.method}`) of {made} images, trained by `chiasm train`.

| | |
|---|---|
| target | {made} |
| sees | {brains}; {config.context.kind} samples at {spacing} mm |
| network | {config.network.get("name")} |
| guides | {", ".join(guide["name"] for guide in config.guides) or "none"} |
| passes | {(config.calibration or {}).get("passes", 1)} |{detail}
| trained on | {subjects.get("train")} subjects, {read} |
| validated on | {subjects.get("validation")} other subjects: {loss} |
| iterations | {settings.get("iterations")}, {draws} |{begun}
| took | {facts.get("seconds")} s on {facts.get("device")}{memory} |{before}

For research; not a medical device.
"""
