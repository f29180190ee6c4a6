"""torchdata's StatefulDataLoader saves and restores the position of the project's own reader in its workers."""

from pathlib import Path

import pytest

from tests.trainers.running import EXAMPLES, run

pytestmark = pytest.mark.engines("trainers")


def test_a_run_that_stops_in_an_epoch_continues_with_the_next_documents(built: Path, tmp_path: Path) -> None:
    def steps(position: str, number: int) -> list[str]:
        dataset = built / "dataset/miniweb"
        printed = run(EXAMPLES / "resume_training.py", dataset, "--position", tmp_path / position, f"--steps={number}")
        return printed.splitlines()

    whole = steps("whole", 1000)
    assert len(whole) > 5
    assert steps("stopped", 3) + steps("stopped", 2) + steps("stopped", 1000) == whole
    assert len(set(" ".join(whole).split())) == len(" ".join(whole).split())
