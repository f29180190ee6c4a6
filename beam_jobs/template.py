"""The flex template for Dataflow: its parameters, one for each of our options, and how its launcher starts a stage.

python -m beam_jobs.template > docker/flex-template.json     after an option has changed
"""

import argparse
import shlex
import sys
from collections.abc import Collection, Iterator
from typing import Any

import orjson

from beam_jobs.command_line import own_options
from mmc4_pipeline.cli import STAGES, run_job

_STAGES = tuple(stage for stage in STAGES if stage != "build")  # a template is one pipeline
_REQUIRED = ("output",)


def metadata() -> dict[str, Any]:
    """Return the template's metadata for Dataflow: a parameter for each option of a stage.

    Dataflow refuses a parameter that is not declared here. The format is TemplateMetadata of its API v1b3.
    """
    return {
        "name": "mmc4-pipeline",
        "description": "Runs one stage of mmc4-pipeline, which builds interleaved image-text datasets like MMC4.",
        "streaming": False,
        "parameters": [*_LAUNCH, *(_parameter(action) for action in own_options().values()), *_WORKERS],
    }


def _choice(values: Collection[str]) -> dict[str, Any]:
    """Return the type of a parameter with these values."""
    options = [{"value": value, "label": value} for value in values]
    return {"paramType": "ENUM", "enumOptions": options, "regexes": [f"^({'|'.join(values)})$"]}


_LAUNCH = (
    {
        "name": "stage",
        "label": "stage",
        "helpText": "Stage to run. The stages before it must be finished in the same output folder.",
        "isOptional": False,
        **_choice(_STAGES),
    },
    {
        "name": "sdk_container_image",
        "label": "sdk_container_image",
        "helpText": "Container image of the workers: target worker of docker/Dockerfile, or worker-gpu to score.",
        "isOptional": False,
        "paramType": "TEXT",
    },
)
# Options of Beam that have no field of their own in a launch request, unlike the number and the type of machines.
_WORKERS = (
    {
        "name": "number_of_worker_harness_threads",
        "label": "number_of_worker_harness_threads",
        "helpText": "Threads per worker process; 1 to score on a GPU.",
        "isOptional": True,
        "paramType": "NUMBER",
        "regexes": ["^[0-9]+$"],
    },
)


def arguments(words: list[str]) -> tuple[str, list[str]]:
    """Return the stage and its command line from the launcher's words, which always have the form `--name=value`.

    The value of an option that takes several values is split like a shell command; `true` means an option without a
    value.
    """
    own = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    own.add_argument("--stage", choices=_STAGES, required=True)
    known, rest = own.parse_known_args(words)
    options = own_options()
    line: list[str] = []
    for word in rest:
        flag, _, value = word.partition("=")
        line += _words(word, flag, value, options.get(flag.removeprefix("--")))
    return known.stage, line


def _words(word: str, flag: str, value: str, action: argparse.Action | None) -> list[str]:
    if action is None:
        return [word]
    if action.nargs == 0:
        return [flag] if value.lower() == "true" else []
    if action.nargs == "+":
        return [flag, *shlex.split(value)]
    if _is_repeated(action):
        return [part for item in shlex.split(value) for part in (flag, item)]
    return [word]


def _parameter(action: argparse.Action) -> dict[str, Any]:
    return {
        "name": action.dest,
        "label": action.dest,
        "helpText": " ".join(_help(action)),
        "isOptional": action.dest not in _REQUIRED,
        **_type(action),
    }


def _help(action: argparse.Action) -> Iterator[str]:
    yield f"{action.help}."
    if action.nargs == "+" or _is_repeated(action):
        yield "Separate several values by spaces; quote a value that contains spaces."


def _type(action: argparse.Action) -> dict[str, Any]:
    if action.choices and action.nargs is None:
        return _choice(list(action.choices))
    if action.nargs == 0:
        return {"paramType": "BOOLEAN", "regexes": ["^(true|false)$"]}
    if action.type is int:
        return {"paramType": "NUMBER", "regexes": ["^[0-9]+$"]}
    if action.type is float:
        return {"paramType": "NUMBER", "regexes": ["^[0-9.]+$"]}
    return {"paramType": "TEXT"}


def _is_repeated(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction)  # noqa: SLF001 - argparse has no public name for it


def launch() -> None:
    """Start a stage from the launcher's words; Beam writes the job for Dataflow to the place that they name."""
    run_job(*arguments(sys.argv[1:]))


if __name__ == "__main__":
    sys.stdout.write(orjson.dumps(metadata(), option=orjson.OPT_INDENT_2).decode() + "\n")
