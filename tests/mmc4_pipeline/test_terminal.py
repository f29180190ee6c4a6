"""Text from outside must not control the terminal."""

import io
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mmc4_pipeline.terminal import Console, printable

HOSTILE = [
    "\x1b]0;title\x07",
    "\x1b[8mhidden",
    "line\roverwritten",
    "\x9b31m",
    "\u202etxt.exe",
    "back\b\bspace",
    "\x1b]52;c;Y2xpcGJvYXJk\x07",
    "lone \ud83d surrogate",
    "zero\u200bwidth",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_are_shown_as_escapes(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


@given(st.text())
def test_only_tabs_newlines_and_printable_characters_remain(text: str) -> None:
    shown = printable(text)
    assert not {character for character in shown if ord(character) < 32 or 127 <= ord(character) < 160} - {"\t", "\n"}
    shown.encode()  # no lone surrogates


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_other_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("wrap", [str, Text, Panel])
def test_the_console_escapes_what_it_prints(text: str, wrap: type) -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=200, markup=False, color_system=None).print(wrap(text))
    assert text not in out.getvalue()
    assert all(line.isprintable() for line in out.getvalue().splitlines())


def test_tables_are_escaped_and_colours_still_work() -> None:
    out, table = io.StringIO(), Table("reason")
    table.add_row(HOSTILE[0], style="red")
    Console(file=out, force_terminal=True, width=100, color_system="standard").print(table)
    assert HOSTILE[0] not in out.getvalue()
    assert "\x1b[31m" in out.getvalue()


@pytest.mark.parametrize("kind", ["UserError", "RuntimeError"])
def test_errors_are_escaped(kind: str) -> None:
    program = f"""
import sys
from mmc4_pipeline import cli
from mmc4_pipeline.errors import UserError
def fail(_):
    raise {kind}("http://a.example/\\x1b]0;title\\x07")
cli._guarded(fail, [])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 1
    assert b"\x1b" not in done.stderr
    assert b"a.example/\\x1b]0;title\\x07" in done.stderr


def test_the_log_is_escaped(capfd: pytest.CaptureFixture[str]) -> None:
    from mmc4_pipeline import log

    log.configure(verbose=False)
    logging.getLogger("mmc4_pipeline.test").warning("%s", "http://a.example/\x1b]0;title\x07")
    shown = capfd.readouterr().err
    assert "a.example" in shown
    assert "\x1b" not in shown
