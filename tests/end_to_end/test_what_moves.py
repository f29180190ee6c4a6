"""The size of the elements between the steps of the images stage, as the runner measures it."""

import shutil
from pathlib import Path

import apache_beam as beam
from apache_beam.metrics.monitoring_infos import SAMPLED_BYTE_SIZE_URN, extract_distribution
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from beam_jobs.command_line import OWN_OPTIONS, parse
from beam_jobs.fetch_images import FetchImages
from beam_jobs.images import ImagesWork
from beam_jobs.options.images import fetch_settings
from beam_jobs.options.recipe import recipe_of
from mmc4_pipeline.loaded_filters import LoadedFilters
from mmc4_pipeline.run_folders import stage_folder
from schemas.reasons import Stage
from tests.end_to_end.running import Web
from tests.mmc4_pipeline.file_server import INPUTS

BYTES_OF_AN_IMAGE = 24  # rank and perceptual hash, with what Beam adds to an element


def test_of_an_image_only_its_hash_moves_between_steps(web: Web, built: Path, tmp_path: Path) -> None:
    output = shutil.copytree(built, tmp_path / "out")
    folder, pages = stage_folder(str(output), Stage.IMAGES), stage_folder(str(output), Stage.PAGES)
    counts = folder.manifest().counts["links"]
    options = parse(web.build_arguments(output), "", "", OWN_OPTIONS)
    shards = folder.manifest().plan.shards
    shutil.rmtree(output / "images/done")  # fetched shards remain
    recipe = recipe_of(options)
    fetching = FetchImages(
        pages=pages,
        folder=folder,
        shards=shards,
        recipe=recipe,
        settings=fetch_settings(options),
        lists=LoadedFilters.read({}, INPUTS),
    )
    work = ImagesWork(fetching=fetching, recipe=recipe)
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)
    work.build(pipeline, list(range(shards)))
    infos = [info for info in pipeline.run().monitoring_infos() if info.urn == SAMPLED_BYTE_SIZE_URN]
    largest = max(extract_distribution(info)[3] for info in infos)
    stored = sum(path.stat().st_size for path in (output / "images").glob("*.tar"))
    assert len(infos) > 10
    assert largest < BYTES_OF_AN_IMAGE * counts.kept < stored / 500
