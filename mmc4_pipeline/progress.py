"""Show the progress of a stage on a terminal: shards done, shards in all, rate, remaining time."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from mmc4_pipeline import storage
from mmc4_pipeline.stage_folder import StageFolder
from mmc4_pipeline.terminal import Console

_EVERY = {True: 0.5, False: 15.0}  # seconds between two checks of the folder, local or not


_PERIOD = 3600.0  # seconds whose notes tell how much time remains: the next note may be minutes away
_SINGULAR = {"shards": "shard", "parts of the crawl": "part of the crawl"}


@dataclass(frozen=True, slots=True)
class Notes:
    """The notes that progress counts: those of the stage's slowest step, how many there will be, and of what."""

    folder: str
    total: int
    what: str


@contextmanager
def showing_progress(folder: StageFolder, notes: Notes) -> Iterator[None]:
    """Show progress while the body runs, counted from notes, which are written on every runner.

    If the error stream is not a terminal, one line is printed when a stage starts and one when it ends.
    """
    console, what = Console(stderr=True), notes.what if notes.total != 1 else _SINGULAR.get(notes.what, notes.what)
    if not sys.stderr.isatty():
        console.print(f"{folder.stage}: {notes.total} {what} into {folder.path}", soft_wrap=True, highlight=False)
        yield
        console.print(f"{folder.stage}: done", highlight=False)
        return
    columns = (
        TextColumn("{task.description:>8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what + "  {task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=_PERIOD) as progress:
        before = len(folder.done(notes.folder))
        task = progress.add_task(folder.stage.value, total=notes.total, completed=before, rate="")
        stop = threading.Event()

        def watch() -> None:
            done = before
            while True:
                last = stop.wait(_EVERY[storage.is_local(folder.path)])
                done = max(done, len(folder.done(notes.folder)))  # the last step removes what is no longer needed
                elapsed = progress.tasks[task].elapsed or 0.0
                rate = f"{60 * (done - before) / elapsed:.1f}/min" if done > before and elapsed else ""
                progress.update(task, completed=done, rate=rate)
                if last:
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()


@contextmanager
def counting_files(what: str, files: int) -> Iterator[Callable[[], None]]:
    """Show on a terminal how many files are done; the body calls the given function after each."""
    columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TextColumn("files"))
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=files)
        yield lambda: progress.advance(task)


@contextmanager
def counting_bytes(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of a download on a terminal; the body calls the given function with bytes done and in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not sys.stderr.isatty()
    ) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
