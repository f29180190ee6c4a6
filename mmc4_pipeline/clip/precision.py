"""In which number format a model computes."""

import torch

from mmc4_pipeline.clip.settings import Precision
from mmc4_pipeline.errors import UserError

_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def find_precision(wanted: Precision, device: str) -> torch.dtype:
    """Give the format to compute in: for "auto" fp16 on CUDA, on a CPU bf16 where it has matrix units for that.

    fp16 is what CLIP was published in, as fast as bf16, and its similarities are nearer to those in float32. What
    "auto" gives follows from the device alone, never from a timing: scores must not depend on what else a machine does.
    Raises UserError for a format that is none.
    """
    if wanted in _TYPES:
        return _TYPES[wanted]
    if wanted != "auto":
        message = f"--precision {wanted}: must be one of auto, {', '.join(_TYPES)}"
        raise UserError(message)
    if torch.device(device).type == "cuda":
        return torch.float16
    return torch.bfloat16 if _cpu_multiplies_bf16() else torch.float32


def name_of(dtype: torch.dtype) -> str:
    """Give a format's short name: "fp16"."""
    return next(name for name, item in _TYPES.items() if item is dtype)


def _cpu_multiplies_bf16() -> bool:
    """Whether the CPU has AMX tiles: AVX512-BF16 alone may gain nothing over float32, plain AVX512 loses."""
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)  # private, and the only door that PyTorch has
    return bool(supported and supported())
