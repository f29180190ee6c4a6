import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmc4_pipeline.commands.report import main
from mmc4_pipeline.cut_document import CutDocument
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.stage_folder import StageFolder
from schemas.reasons import Reason

MakeDocument = Callable[..., CutDocument]
MakeDataset = Callable[..., StageFolder]


def test_command_writes_the_page_and_shows_the_funnel(
    make_document: MakeDocument, make_dataset: MakeDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_dataset([make_document("a" * 32, [0.3])])
    main([folder.path + "/"])
    shown = capsys.readouterr().out
    assert "100 → 60" in shown
    assert shown.rstrip().endswith(f"{folder.path}/report.html")
    assert Path(folder.file("report.html")).is_file()


@pytest.mark.parametrize("name", ["", "missing", "out/dataset/planted/done"])
def test_folder_that_is_no_dataset_is_refused(name: str, tmp_path: Path, make_dataset: MakeDataset) -> None:
    if name:
        make_dataset([])
    with pytest.raises(UserError, match="mmc4 cut") as error:
        main([str(tmp_path / name)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["out", "out/dataset"])
def test_folder_above_a_dataset_is_refused_with_the_dataset_s_path(
    name: str, tmp_path: Path, make_dataset: MakeDataset
) -> None:
    folder = make_dataset([])
    with pytest.raises(UserError, match=f"datasets.*{folder.path}"):
        main([str(tmp_path / name)])


def test_unfinished_dataset_is_refused(make_dataset: MakeDataset) -> None:
    folder = make_dataset([])
    Path(folder.file("manifest.json")).unlink()
    with pytest.raises(UserError, match=r"mmc4 cut.*--resume"):
        main([folder.path])
    assert not Path(folder.file("report.html")).exists()


def test_datasets_are_compared_side_by_side(
    make_document: MakeDocument,
    make_dataset: MakeDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = shutil.copytree(make_dataset([make_document("a" * 32, [0.31, 0.4])]).path, tmp_path / "first")
    shutil.rmtree(tmp_path / "out")
    second = make_dataset([make_document("b" * 32, [0.21]), make_document("c" * 32, [0.2], reason=Reason.DOCUMENT)])
    main([str(first), second.path])
    lines = capsys.readouterr().out.splitlines()
    shown = {line.split("│")[0].strip(): [cell.strip() for cell in line.split("│")[1:]] for line in lines}
    assert (shown["documents"], shown["images"]) == (["1", "1"], ["2", "1"])
    assert (shown["images per document"], shown["median matched_similarity"]) == (["2.00", "1.00"], ["0.31", "0.21"])
    assert shown["dropped: document"] == ["0", "1"]
    assert shown["assignment"] == ["hungarian"] * 2
