"""How much a device computes at once: as much as fits, and half of it where that was too much."""

from collections.abc import Callable

import torch

from mmc4_pipeline.errors import UserError

Compute = Callable[[torch.Tensor], torch.Tensor]

_CPU_SAYS = ("can't allocate memory", "not enough memory", "out of memory")  # PyTorch's words, by platform
_SHARE = 0.5  # of the free memory: the rest is for fragments, other batches on their way, and other processes
_TRIAL = 8


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device's memory did not hold what was asked for: CUDA has an error of its own, the CPU mere words."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _CPU_SAYS)


class Halving:
    """Computes batches, in smaller parts from the first time on that the device's memory did not hold one."""

    def __init__(self, compute: Compute, most: int) -> None:
        """Compute at most so many rows at once; `compute` gives a row for each row that it gets."""
        self._compute = compute
        self.most = most

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Compute a batch of at least one row. Raises UserError where not even one row fits."""
        done: list[torch.Tensor] = []
        start = 0
        while start < len(batch):
            part = batch[start : start + self.most]
            result = self._tried(part)
            if result is None:
                self.most = (len(part) + 1) // 2
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
                message = (
                    "out of memory with a single image or sentence at a time; end what else uses the device, "
                    "or choose another --device or a smaller --clip_model"
                )
                raise UserError(message) from error
        if torch.cuda.is_available():  # here, where the error no longer holds what was allocated
            torch.cuda.empty_cache()
        return None


def rows_that_fit(compute: Compute, row: torch.Tensor, most: int) -> int:
    """Give how many rows a CUDA device's free memory holds, a power of two and at most `most`, from a small trial."""
    device = row.device
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    compute(row.expand(_TRIAL, *row.shape[1:]))
    torch.cuda.synchronize(device)
    a_row = max(1, (torch.cuda.max_memory_allocated(device) - before) // _TRIAL)
    fit = int(torch.cuda.mem_get_info(device)[0] * _SHARE) // a_row
    return max(1, min(most, 1 << (fit.bit_length() - 1) if fit else 1))
