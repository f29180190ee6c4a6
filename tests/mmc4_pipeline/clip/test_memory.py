"""Out of memory: smaller batches, the same rows."""

import pytest
import torch

from mmc4_pipeline.clip.memory import HalvingBatches
from mmc4_pipeline.errors import UserError


def double(limit: int, error: Exception | None = None):  # noqa: ANN201 - a function of tensors
    """Return a function with memory for that many rows; without an error of CUDA's the CPU's own allocator fails."""
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
def test_all_rows_are_computed_in_their_order(
    limit: int, error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    compute, sizes = double(limit, error)
    halving = HalvingBatches(compute, 16)
    for count in (16, 7, 40):
        rows = torch.arange(count * 2).view(count, 2)
        assert torch.equal(halving(rows), rows * 2)
    assert sum(size > limit for size in sizes) <= 4  # a size that did not fit is not tried again
    assert halving.batch_size <= max(limit, 1) or limit == 100
    warnings = [record.args for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ([] if limit == 100 else [(16, 8), (8, 4), (4, 2), (2, 1)][: {1: 4, 3: 3, 5: 2}[limit]])


def test_not_even_one_row_fits() -> None:
    compute, _ = double(0)
    with pytest.raises(UserError, match=r"out of memory .*--device .*--clip_model"):
        HalvingBatches(compute, 4)(torch.zeros(4, 1))


def test_other_errors_pass() -> None:
    compute, _ = double(0, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        HalvingBatches(compute, 4)(torch.zeros(4, 1))
