"""The flex template: its parameters are our options, and the launcher's words reach them."""

import re
from pathlib import Path

import jsonschema
import orjson
import pytest
from apache_beam.options.pipeline_options import DebugOptions

from beam_jobs import template
from beam_jobs.command_line import OWN_OPTIONS, parse
from beam_jobs.options.common import CommonOptions
from beam_jobs.options.images import ImagesOptions
from beam_jobs.options.locate import LocateOptions
from beam_jobs.options.pages import PagesOptions

FILE = Path(__file__).parents[2] / "docker" / "flex-template.json"


# TemplateMetadata and ParameterMetadata of the API v1b3:
# https://cloud.google.com/dataflow/docs/reference/rest/v1b3/GetTemplateResponse
TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "array", "items": TEXT, "minItems": 1}
PARAMETER = {
    "type": "object",
    "required": ["name", "label", "helpText", "isOptional", "paramType"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-zA-Z][a-zA-Z0-9_]*$"},
        "label": TEXT,
        "helpText": TEXT,
        "isOptional": {"type": "boolean"},
        "regexes": TEXTS,
        "paramType": {"enum": ["TEXT", "BOOLEAN", "ENUM", "NUMBER"]},
        "enumOptions": {
            "type": "array",
            "minItems": 2,
            "items": {
                "type": "object",
                "required": ["value", "label"],
                "additionalProperties": False,
                "properties": {"value": TEXT, "label": TEXT, "description": TEXT},
            },
        },
    },
    "if": {"properties": {"paramType": {"const": "ENUM"}}},
    "then": {"required": ["enumOptions"]},
    "else": {"not": {"required": ["enumOptions"]}},
}
METADATA = {
    "type": "object",
    "required": ["name", "description", "streaming", "parameters"],
    "additionalProperties": False,
    "properties": {
        "name": TEXT,
        "description": TEXT,
        "streaming": {"const": False},
        "parameters": {"type": "array", "items": PARAMETER},
    },
}


def test_the_file_has_dataflow_s_format() -> None:
    metadata = orjson.loads(FILE.read_bytes())
    jsonschema.validate(metadata, METADATA)
    names = [item["name"] for item in metadata["parameters"]]
    assert len(names) == len(set(names))
    for item in metadata["parameters"]:
        patterns = [re.compile(pattern) for pattern in item.get("regexes", ())]
        values = [option["value"] for option in item.get("enumOptions", ())]
        assert all(pattern.match(value) for pattern in patterns for value in values)
        assert not any(pattern.match("no value of ours") for pattern in patterns)


def parameters() -> dict[str, dict]:
    return {item["name"]: item for item in orjson.loads(FILE.read_bytes())["parameters"]}


def test_the_file_matches_the_options() -> None:
    assert orjson.loads(FILE.read_bytes()) == template.metadata(), (
        "python -m beam_jobs.template > docker/flex-template.json"
    )


@pytest.mark.parametrize("group", OWN_OPTIONS)
def test_every_option_is_a_parameter(group: type) -> None:
    own = group([]).get_all_options(current_only=True)
    assert own
    assert own.keys() <= parameters().keys()


def test_wrong_parameters_are_refused_before_the_job_starts() -> None:
    allowed = {name: item["regexes"][0] for name, item in parameters().items() if "regexes" in item}
    assert re.match(allowed["stage"], "score")
    assert not re.match(allowed["stage"], "build")
    assert not re.match(allowed["page_source"], "warcs")
    assert not re.match(allowed["shard_bytes"], "1GB")
    assert [name for name, item in parameters().items() if not item["isOptional"]] == [
        "stage",
        "sdk_container_image",
        "output",
    ]


def test_the_launcher_s_words_reach_the_options() -> None:
    stage, line = template.arguments(
        [
            "--runner=DataflowRunner",
            "--template_location=gs://bucket/job",
            "--stage=locate",
            "--output=gs://bucket/out",
            "--c4=gs://bucket/a-*.gz 'gs://bucket/b 1.gz'",
            "--set=links.main_content=true 'filters.ads={}'",
            "--allow_private_hosts=false",
            "--resume=true",
            "--documents_per_shard=7",
            "--number_of_worker_harness_threads=1",
        ]
    )
    options = parse(line, "mmc4 locate", "", OWN_OPTIONS)
    assert stage == "locate"
    assert options.view_as(LocateOptions).c4 == ["gs://bucket/a-*.gz", "gs://bucket/b 1.gz"]
    assert options.view_as(CommonOptions).set == ["links.main_content=true", "filters.ads={}"]
    assert options.view_as(CommonOptions).resume
    assert not options.view_as(ImagesOptions).allow_private_hosts
    assert options.view_as(PagesOptions).documents_per_shard == 7
    assert options.view_as(DebugOptions).number_of_worker_harness_threads == 1
    assert "--template_location=gs://bucket/job" in line
