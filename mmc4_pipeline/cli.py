"""The command line: `mmc4 <stage> …` and `python -m beam_jobs.<stage> …` are the same program."""

import importlib
import logging
import re
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from mmc4_pipeline.errors import NotRunError, UserError

STAGES = {
    "build": "all five stages, from C4 documents to shards",
    "locate": "find each document's page in Common Crawl's index",
    "pages": "read the pages: image links and sentences",
    "images": "fetch and measure the images, drop duplicates",
    "score": "compute CLIP similarities and head probabilities",
    "cut": "apply a recipe: assign images to sentences, write shards",
}
OTHERS = {
    "plan": "what finding and reading the pages will take: bytes, requests, time, money",
    "status": "how far a run is: shards done and counts so far, by stage",
    "report": "statistics of a dataset as a page",
    "verify": "check a dataset: files, counts, images, subsets",
    "models": "fetch the weights that a recipe needs, checked by sha256",
    "train_faces": "train a face head for your CLIP on the images of a run",
    "takedown": "take images and pages out of what is finished, by a list",
    "card": "dataset card and Croissant metadata, for publishing",
    "demo": "a miniature web, end to end, in a minute or two",
}


def main() -> None:
    """Run one command. Exit codes: 0 done, 1 something the user can mend (one line says what), 2 wrong usage."""
    command, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("--help", [])
    if command in STAGES:
        run_job(command, arguments)
    elif command in OTHERS:
        _quiet_logs()
        _guarded(importlib.import_module(f"mmc4_pipeline.commands.{command}").main, arguments)
    else:
        known = command in ("-h", "--help")
        sys.stderr.write("" if known else f"mmc4: {command}: no such command\n\n")
        sys.stdout.write(_usage())
        sys.exit(0 if known else 2)


def run_job(stage: str, arguments: list[str] | None = None) -> None:
    """Run one of the Beam jobs; they are imported only now, so that `mmc4 --help` answers at once."""
    _quiet_logs()
    job = importlib.import_module(f"beam_jobs.{stage}")
    _guarded(job.main, sys.argv[1:] if arguments is None else arguments)


def _quiet_logs() -> None:
    """Log errors only: Beam and open_clip warn about things that users of this program did not choose."""
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    for name in ("common", "worker", "portability.fn_api_runner", "portability.local_job_service"):
        logging.getLogger(f"apache_beam.runners.{name}").setLevel(logging.CRITICAL)  # what they log is raised too
    logging.getLogger("PrismJobServer").disabled = True  # Beam sets this one's level itself
    logging.getLogger().addFilter(_not_of_a_job)


def _not_of_a_job(record: logging.LogRecord) -> bool:
    """Keep out what Beam logs of a job elsewhere, Java's stack and all: it raises it as well."""
    return record.module != "portable_runner"


def _usage() -> str:
    def table(commands: dict[str, str]) -> str:
        return "".join(f"  {name:<11} {text}\n" for name, text in commands.items())

    return (
        "usage: mmc4 COMMAND [options]\n\nMakes interleaved image-text datasets from C4 and Common Crawl.\n\n"
        f"stages:\n{table(STAGES)}\nothers:\n{table(OTHERS)}\n`mmc4 COMMAND --help` says more.\n"
    )


def _guarded(run: Callable[[list[str]], None], arguments: list[str]) -> None:
    """Run a command; what the user can mend ends in one line, never in a traceback. SIGTERM stops as Ctrl-C does."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        run(arguments)
    except NotRunError as end:
        sys.stdout.write(f"{end}\n")
    except KeyboardInterrupt:
        sys.exit("mmc4: stopped; continue with --resume")
    except Exception as error:
        message = _user_message(error)
        if message is None:
            raise
        sys.exit(f"mmc4: {message}")
    finally:
        signal.signal(signal.SIGTERM, before)


def _user_message(error: BaseException) -> str | None:
    """Give the message of a UserError, also where a runner has wrapped it: in its cause, or as text of a worker."""
    if isinstance(error, UserError):
        return re.sub(r" \[while running .*", "", str(error), flags=re.DOTALL)
    found = re.findall(r"^(?:\w+\.)*(?:User|PermanentRead)Error: (.*)$", str(error), flags=re.MULTILINE)
    if found:
        return re.sub(r" \[while running .*", "", found[-1])
    return _user_message(error.__cause__) if error.__cause__ else None


if __name__ == "__main__":
    main()
