"""Choose batch sizes that fit a device's memory, and halve a batch that did not fit."""

import logging
from collections.abc import Callable

import torch

from mmc4_pipeline.errors import UserError

Compute = Callable[[torch.Tensor], torch.Tensor]

_CPU_MESSAGES = ("can't allocate memory", "not enough memory", "out of memory")  # PyTorch's, by platform
_SHARE = 0.5  # of the free memory; the rest is for fragments, batches under way and other processes
_TRIAL = 8  # rows

_log = logging.getLogger(__name__)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether the device ran out of memory: CUDA has its own type of error, the CPU only messages."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _CPU_MESSAGES)


class HalvingBatches:
    """Computes batches. Once one does not fit the device's memory, this and all later ones are split."""

    def __init__(self, compute: Compute, most: int) -> None:
        """Compute at most that many rows at once; `compute` returns one row for each row of its argument."""
        self._compute = compute
        self.batch_size = most

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Compute a batch of at least one row. Raises UserError if not even one row fits."""
        done: list[torch.Tensor] = []
        start = 0
        while start < len(batch):
            part = batch[start : start + self.batch_size]
            result = self._tried(part)
            if result is None:
                self.batch_size = (len(part) + 1) // 2
                _log.warning("out of memory with a batch of %d; from now on at most %d", len(part), self.batch_size)
                continue
            done.append(result)
            start += len(part)
        return done[0] if len(done) == 1 else torch.cat(done)

    def _tried(self, part: torch.Tensor) -> torch.Tensor | None:
        try:
            return self._compute(part)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise UserError(
                    "out of memory with a single image or sentence; stop other programs that use the device, "
                    "or choose another --device or a smaller --clip_model"
                ) from error
        if torch.cuda.is_available():  # only here: the error, while it is handled, keeps its memory allocated
            torch.cuda.empty_cache()
        return None


def rows_that_fit(compute: Compute, row: torch.Tensor, most: int) -> int:
    """Return how many rows fit a CUDA device's free memory, a power of two and at most `most`, measured by a trial."""
    device = row.device
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    compute(row.expand(_TRIAL, *row.shape[1:]))
    torch.cuda.synchronize(device)
    bytes_per_row = max(1, (torch.cuda.max_memory_allocated(device) - before) // _TRIAL)
    fit = int(torch.cuda.mem_get_info(device)[0] * _SHARE) // bytes_per_row
    return max(1, min(most, 1 << (fit.bit_length() - 1) if fit else 1))
