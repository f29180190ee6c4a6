"""Estimates a whole run: measures this machine, and returns what each of the five stages takes."""

from dataclasses import dataclass

from mmc4_pipeline.commoncrawl.by_range import MAX_GAP
from mmc4_pipeline.commoncrawl.by_wat import has_all_for
from mmc4_pipeline.estimate.corpus import Corpus
from mmc4_pipeline.estimate.crawl_size import CrawlSize
from mmc4_pipeline.estimate.estimate import (
    ScoreSpeeds,
    cut_needs,
    images_needs,
    locate_needs,
    page_sources,
    score_needs,
)
from mmc4_pipeline.estimate.explain import Given
from mmc4_pipeline.estimate.needs import Needs, Prices, Resources
from mmc4_pipeline.estimate.other_scorers import ScorerCost
from mmc4_pipeline.estimate.published import PublishedDataset
from mmc4_pipeline.estimate.speed import measure_speeds
from mmc4_pipeline.pages.page_reader import PageReader
from mmc4_pipeline.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run takes, and what that follows from. `pages` has the pages stage by each source, the cheapest first.

    `locate` is None for a published dataset: nothing is located then.
    `later` are the stages images, score and cut; each scorer other than CLIP is a stage of its own, after score.
    `unknown` are the scorers whose needs are not known.
    """

    given: Given
    locate: Needs | None
    pages: list[Needs]
    later: list[Needs]
    unknown: list[str]


def estimate_run(
    recipe: Recipe,
    corpus: Corpus,
    source: CrawlSize | PublishedDataset,
    score: tuple[ScoreSpeeds, str],
    crawl_delays: float,
    resources: Resources,
    prices: Prices,
    scorers: tuple[ScorerCost, ...] = (),
) -> Estimate:
    """Measure how fast this machine reads pages and decodes images, which takes some seconds, and estimate the run.

    `source` is the crawl that has the documents' pages, or the published dataset. `score` has CLIP's speeds and their
    source, `crawl_delays` is the share of hosts with a Crawl-delay, `scorers` are those other than CLIP.
    """
    reader = PageReader(recipe.links, recipe.text_source)
    speeds = measure_speeds(reader, recipe.images)
    locate: Needs | None = None
    if isinstance(source, PublishedDataset):
        pages = [source.pages_needs(resources, prices)]
    else:
        locate = locate_needs(corpus.documents, source, speeds, resources, prices)
        found = page_sources(corpus.documents, source, speeds, resources, prices, MAX_GAP)
        pages = [item for item in found if item.way != "wat" or (has_all_for(reader) and not recipe.needing_places)]
    others = [(cost.name, cost.needs(corpus, resources, prices)) for cost in scorers]
    return Estimate(
        Given(corpus, source, speeds, *score, crawl_delays, resources, prices, scorers),
        locate,
        pages,
        [
            images_needs(corpus, speeds, crawl_delays, resources, prices),
            score_needs(corpus, score[0], resources, prices),
            *(needs for _, needs in others if needs),
            cut_needs(corpus, resources, prices),
        ],
        [name for name, needs in others if not needs],
    )
