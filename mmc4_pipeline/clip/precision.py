"""Choose the number format that a model computes in."""

import torch

from mmc4_pipeline.clip.settings import Precision
from mmc4_pipeline.errors import UserError

_TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def find_precision(wanted: Precision, device: str) -> torch.dtype:
    """Return the format to compute in: for "auto" fp16 on CUDA, and on a CPU bf16 if it has matrix units for that.

    CLIP was published in fp16, which is as fast as bf16, and whose similarities are closer to those in float32. "auto"
    depends on the device alone, never on a timing: scores must not depend on the other load of a machine.
    Raises UserError for an unknown format.
    """
    if wanted in _TYPES:
        return _TYPES[wanted]
    if wanted != "auto":
        raise UserError(f"--precision {wanted}: must be one of auto, {', '.join(_TYPES)}")
    if torch.device(device).type == "cuda":
        return torch.float16
    return torch.bfloat16 if _cpu_multiplies_bf16() else torch.float32


def name_of(dtype: torch.dtype) -> str:
    """Return a format's short name: "fp16"."""
    return next(name for name, item in _TYPES.items() if item is dtype)


def _cpu_multiplies_bf16() -> bool:
    """Return whether the CPU has AMX tiles: AVX512-BF16 alone may gain nothing over float32, plain AVX512 is slower."""
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)  # private, but PyTorch has no public function for it
    return bool(supported and supported())
