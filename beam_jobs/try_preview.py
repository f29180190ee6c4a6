"""Prints what `mmc4 try` is about to download, and how long it will take."""

from collections import Counter
from os import cpu_count

from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.options.common import output_folder
from beam_jobs.options.locate import ChoiceOptions, LocateOptions
from beam_jobs.options.pages import PagesOptions
from beam_jobs.options.recipe import recipe_of
from beam_jobs.options.score import ScoreOptions, chosen_scorers
from mmc4_pipeline.documents.choosing import count_documents, document_files
from mmc4_pipeline.documents.fields import FORMATS, parse_fields
from mmc4_pipeline.estimate.clip_speed import ON_GPU, gpus_here, measure_clip
from mmc4_pipeline.estimate.corpus import Corpus
from mmc4_pipeline.estimate.crawl_size import C4_CRAWL, crawl_size
from mmc4_pipeline.estimate.estimate import score_needs
from mmc4_pipeline.estimate.needs import Prices, Resources
from mmc4_pipeline.estimate.other_scorers import costs_of
from mmc4_pipeline.estimate.preview import preview
from mmc4_pipeline.estimate.table import duration
from mmc4_pipeline.estimate.web import CRAWL_DELAY_SHARE
from mmc4_pipeline.estimate.whole_run import Estimate, estimate_run
from mmc4_pipeline.models import catalogue
from mmc4_pipeline.models.catalogue import PublishedFile
from mmc4_pipeline.storage import Inputs
from mmc4_pipeline.terminal import Console

COMMON_CRAWL = "https://data.commoncrawl.org"
_BYTES_PER_SECOND = 10e6  # of a connection at home


def print_preview(options: PipelineOptions, inputs: Inputs, missing: list[PublishedFile], console: Console) -> None:
    """Print what a build with these options will download and store, and how long it will take.

    `missing` are the weights that it needs and that are not on this machine. Raises UserError if the documents cannot
    be read.
    """
    locate = options.view_as(LocateOptions)
    names = parse_fields(locate.c4_fields, FORMATS[locate.documents_format])
    documents = count_documents(inputs, document_files(inputs, locate.c4), names, options.view_as(ChoiceOptions).limit)
    console.print(f"{documents:,} documents of {' '.join(locate.c4)}, into {output_folder(options)}", soft_wrap=True)
    with console.status("measuring this machine"):
        weights: Counter[str] = Counter()
        for file in missing:  # several may be of one model
            weights[file.what] += inputs.size(file.url)
        found = _estimate(options, inputs, documents)
    console.print(preview(found, weights, options.view_as(PagesOptions).page_source))
    if recipe_of(options).scores == "_".join(catalogue.SMALL_CLIP_IDENTITY.values()):
        console.print("The filters for similarity and NSFW images are off: their thresholds hold for ViT-L/14 only.")
    elif not found.given.resources.gpus:
        small, _ = measure_clip(catalogue.SMALL_CLIP_IDENTITY["model"])
        hours = score_needs(found.given.corpus, small, found.given.resources, found.given.prices).hours
        console.print(
            f"No GPU was found. With --small, score takes {duration(hours)}, but images are not filtered by similarity "
            "or NSFW content."
        )
    console.print("To stop, press Ctrl-C. To continue, repeat the command.\n")


def _estimate(options: PipelineOptions, inputs: Inputs, documents: int) -> Estimate:
    locate, recipe, gpus = options.view_as(LocateOptions), recipe_of(options), gpus_here()
    is_published = recipe.crawl == C4_CRAWL.name and locate.cc_root == COMMON_CRAWL
    crawl = crawl_size(inputs, recipe.crawl, None if is_published else locate.cc_root)
    score = (ON_GPU, "assumed") if gpus else measure_clip(options.view_as(ScoreOptions).clip_model)
    resources = Resources(cpu_count() or 1, _BYTES_PER_SECOND, inputs.http.requests_per_second, gpus)
    free = Prices(0, 0, 0, 0, 0)
    scorers = costs_of(chosen_scorers(options), None, None, resources)
    return estimate_run(recipe, Corpus(documents), crawl, score, CRAWL_DELAY_SHARE, resources, free, scorers)
