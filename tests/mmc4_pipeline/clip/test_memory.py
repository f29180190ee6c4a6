"""Out of memory: smaller batches, the same rows."""

import pytest
import torch

from mmc4_pipeline.clip.memory import Halving
from mmc4_pipeline.errors import UserError


def double(limit: int, error: Exception | None = None):  # noqa: ANN201 - a function of tensors
    """Give a function that has memory for so many rows; without an error of CUDA's the CPU's own allocator fails."""
    sizes: list[int] = []

    def compute(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        if len(batch) > limit:
            if error:
                raise error
            torch.empty(1 << 60, dtype=torch.uint8)
        return batch * 2

    return compute, sizes


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), None])
@pytest.mark.parametrize("limit", [1, 3, 5, 100])
def test_all_rows_are_computed_in_their_order(limit: int, error: Exception | None) -> None:
    compute, sizes = double(limit, error)
    halving = Halving(compute, 16)
    for count in (16, 7, 40):
        rows = torch.arange(count * 2).view(count, 2)
        assert torch.equal(halving(rows), rows * 2)
    assert sum(size > limit for size in sizes) <= 4  # what did not fit is not tried again
    assert halving.most <= max(limit, 1) or limit == 100


def test_not_even_one_row_fits() -> None:
    compute, _ = double(0)
    with pytest.raises(UserError, match="out of memory with a single image or sentence"):
        Halving(compute, 4)(torch.zeros(4, 1))


def test_other_errors_pass() -> None:
    compute, _ = double(0, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        Halving(compute, 4)(torch.zeros(4, 1))
