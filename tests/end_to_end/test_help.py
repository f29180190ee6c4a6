"""`--help` of every command: complete, about the user's side of the program, and within the terminal."""

import re

import pytest

from mmc4_pipeline.cli import OTHERS, STAGES
from tests.end_to_end.running import mmc4, succeeded

COMMANDS = [*STAGES, *(command for commands in OTHERS.values() for command in commands)]
HELP = [(command,) for command in COMMANDS] + [("models", "fetch")]
# Of an option: its spellings and placeholders, then its text after two spaces or on a line of its own.
OPTION = re.compile(r"^  (-{1,2}[A-Za-z][^\n]*?)(?:  +|\n {20,})(\S[^\n]*(?:\n {20,}[^\n]*)*)", re.MULTILINE)
OF_A_DEVELOPER = (
    r"mmc4_pipeline[./]|beam_jobs[./]|schemas[./]|\.py\b|__|\w\(|\bself\b|\bNone\b|PipelineOptions|UserError"
)


@pytest.fixture(params=[80, 120])
def columns(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Set the width of the terminal."""
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


@pytest.mark.parametrize("words", HELP, ids=" ".join)
def test_the_help_of_a_command(words: tuple[str, ...], columns: int) -> None:
    text = succeeded(mmc4(*words, "--help")).stdout
    assert text.startswith(f"usage: mmc4 {' '.join(words)} ")
    assert max(len(line) for line in text.splitlines()) <= columns
    assert not re.findall(OF_A_DEVELOPER, text)
    options = {re.findall(r"--\w+", spelling)[-1]: " ".join(said.split()) for spelling, said in OPTION.findall(text)}
    declared = set(re.findall(r"^  (?:-\w, )?(--\w+)", text, re.MULTILINE))
    assert options.keys() == declared
    assert {"--help", "--verbose"} <= declared


def test_the_help_of_a_stage_names_the_options_that_go_to_beam() -> None:
    for stage in STAGES:
        assert {"--direct_num_workers", "--runner"} <= set(re.findall(r"--\w+", mmc4(stage, "--help").stdout))


@pytest.mark.usefixtures("columns")
@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_overview_has_one_line_for_every_command(words: tuple[str, ...]) -> None:
    text = succeeded(mmc4(*words)).stdout
    assert re.findall(r"^  (\w+)  +\w", text, re.MULTILINE) == COMMANDS
    assert max(len(line) for line in text.splitlines()) <= 80


def test_an_unknown_command_is_refused() -> None:
    run = mmc4("biuld")
    assert run.returncode == 2
    assert "biuld" in run.stderr
