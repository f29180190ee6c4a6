"""The command line: `mmc4 COMMAND …`; `python -m beam_jobs.STAGE …` is the same program."""

import importlib
import signal
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from mmc4_pipeline import log
from mmc4_pipeline.errors import NotRunError, user_message
from mmc4_pipeline.terminal import printable

STAGES = {
    "build": "run all five stages, from C4 documents to a dataset",
    "locate": "1. find the page of each document in Common Crawl's index",
    "pages": "2. read the pages: sentences and image links",
    "images": "3. fetch the images, measure them, drop duplicates",
    "score": "4. compute CLIP similarities, NSFW and face probabilities",
    "cut": "5. apply a recipe: assign images to sentences, write shards",
}
OTHERS = {
    "Before and during a run": {
        "demo": "build a small dataset from a generated web, in a minute or two",
        "try": "build a first dataset from C4 and the live web, within an hour",
        "plan": "estimate bytes, disk, time and cost of each stage",
        "models": "fetch the model weights that a recipe needs",
        "train_faces": "train a face head for your CLIP model on a run's images",
        "status": "show how far a run is, by stage",
    },
    "Finished datasets": {
        "report": "show what was kept and dropped, and write a report page",
        "verify": "check files, counts and images against the manifest",
        "export": "write a dataset in other formats, without cutting it again",
        "card": "write a dataset card and Croissant metadata for publishing",
        "takedown": "remove listed hosts, pages or images from all that was built",
    },
}


def main() -> None:
    """Run one command. Exit codes: 0 done, 1 an error that the user can fix (reported in one line), 2 wrong usage."""
    command, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if command in STAGES or command == "demo":
        run_job(command, arguments)
    elif command == "try":
        run_job("try_out", arguments)  # "try" is not a module's name
    elif any(command in commands for commands in OTHERS.values()):
        _run(f"mmc4_pipeline.commands.{command}", arguments)
    elif command in ("-h", "--help"):
        sys.stdout.write(_usage())
    else:
        sys.stderr.write(f"mmc4: {command}: unknown command\n\n")
        sys.stdout.write(_usage())
        sys.exit(2)


def run_job(stage: str, arguments: list[str] | None = None) -> None:
    """Run one of the Beam jobs, or a command that runs them all."""
    _run(f"beam_jobs.{stage}", sys.argv[1:] if arguments is None else arguments)


def _usage() -> str:
    def table(commands: dict[str, str]) -> str:
        return "".join(f"  {name:<13} {text}\n" for name, text in commands.items())

    groups = {"Build a dataset": STAGES, **OTHERS}
    return (
        "usage: mmc4 COMMAND [options]\n\nBuilds interleaved image-text datasets from C4 and Common Crawl.\n\n"
        + "".join(f"{title}:\n{table(commands)}\n" for title, commands in groups.items())
        + "`mmc4 COMMAND --help` describes a command and its options.\n"
    )


def _run(module: str, arguments: list[str]) -> None:
    """Import and run a command. The import comes last, so that `mmc4 --help` does not wait for Beam."""
    log.configure(verbose=not {"-v", "--verbose"}.isdisjoint(arguments))
    _guarded(importlib.import_module(module).main, arguments)


def _guarded(run: Callable[[list[str]], None], arguments: list[str]) -> None:
    """Run a command. An error that the user can fix ends in one line, not in a traceback; SIGTERM acts like Ctrl-C.

    Text from outside that an error quotes cannot control the terminal.
    """

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    sys.excepthook = _write_traceback
    try:
        run(arguments)
    except NotRunError as end:
        sys.stdout.write(f"{end}\n")
    except KeyboardInterrupt:
        sys.exit("mmc4: stopped; continue with --resume")
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        sys.exit(printable(f"mmc4: {message}"))
    finally:
        signal.signal(signal.SIGTERM, before)


def _write_traceback(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, where))))


if __name__ == "__main__":
    main()
