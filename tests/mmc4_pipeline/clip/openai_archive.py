"""Writes a model as OpenAI published its own: a TorchScript archive in half precision."""

from pathlib import Path

import torch
from torch import nn


def holding(weights: dict[str, torch.Tensor]) -> nn.Module:
    """Return a module with these weights, nested by their names."""
    module = nn.Module()
    for name, value in weights.items():
        first, _, rest = name.partition(".")
        if not rest:
            module.register_buffer(first, value)
    for first in {name.partition(".")[0] for name in weights if "." in name}:
        below = {name.partition(".")[2]: value for name, value in weights.items() if name.startswith(f"{first}.")}
        module.add_module(first, holding(below))
    return module


def archive(model: nn.Module, path: Path) -> None:
    """Save a model in the form of OpenAI's file."""
    numbers = {name: torch.tensor(7) for name in ("input_resolution", "context_length", "vocab_size")}
    weights = {name: value.half() for name, value in model.state_dict().items()}
    torch.jit.save(torch.jit.script(holding({**weights, **numbers})), path)
