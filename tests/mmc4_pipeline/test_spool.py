"""Data that waits in a temporary file."""

import resource
from contextlib import closing

import pytest

from mmc4_pipeline.errors import UserError
from mmc4_pipeline.storage.spool import Spool


def test_data_is_read_back_in_any_order() -> None:
    with closing(Spool()) as spool:
        for key in range(3):
            spool.put(key, bytes([key]) * 1000)
        assert [spool.get(key) for key in (2, 0, 1, 3)] == [b"\2" * 1000, b"\0" * 1000, b"\1" * 1000, None]


def test_a_full_disk_is_named_also_when_the_file_is_closed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # a write beyond it fails as on a full disk
    try:
        with pytest.raises(UserError, match="no room"), closing(Spool()) as spool:
            spool.put("large", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
