"""What `mmc4 plan` estimates for scorers beside CLIP: by given speeds, by those known for a core, and unknown ones."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mmc4_pipeline.estimate import whole_run
from mmc4_pipeline.estimate.corpus import Corpus
from mmc4_pipeline.estimate.estimate import Speeds
from mmc4_pipeline.estimate.needs import Needs, Prices, Resources
from mmc4_pipeline.estimate.other_scorers import costs_of
from mmc4_pipeline.scorers.registry import parse_scorers
from mmc4_pipeline.scoring.base import LoadedScorer, Machine, Scorer
from tests.end_to_end.running import mmc4, refusal, succeeded

CORPUS = Corpus(356_317, 1000)
PRICES = Prices(core_hour=1.0, gpu_hour=7.0, gigabyte=100.0, million_requests=100.0, stored_gigabyte_month=1.0)
CORES = Resources(workers=2, bytes_per_second=1e15, requests_per_second=1e-9)
GPUS = replace(CORES, gpus=4.0)
PLAN = ["--documents", "356317", "--score_images_per_second", "2", "--score_sentences_per_second", "40"]


@pytest.fixture(autouse=True)
def _speeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measurement of this machine, which other tests cover."""
    monkeypatch.setattr(whole_run, "measure_speeds", lambda *_: Speeds(1e-3, 1e8, 1e8, 1e6, 200.0))


def needs(
    *scorers: str, itm: float | None = None, captions: float | None = None, on: Resources = CORES
) -> list[Needs | None]:
    """Return what the scorers need."""
    return [cost.needs(CORPUS, on, PRICES) for cost in costs_of(parse_scorers(scorers, {}), itm, captions, on)]


@pytest.mark.parametrize(
    ("scorer", "per_image"), [("blip_itm", 5), ("blip_itm:k=10", 10), ("blip2", 1), ("blip2:max_new_tokens=9", 1)]
)
@pytest.mark.parametrize("on", [CORES, GPUS])
def test_given_speeds_are_those_of_each_device(scorer: str, per_image: int, on: Resources) -> None:
    (found,) = needs(scorer, itm=8.0, captions=8.0, on=on)
    assert found
    hours = CORPUS.scored * per_image / 8 / 3600
    assert (found.core_hours, found.gpu_hours) == pytest.approx((0, hours) if on.gpus else (hours, 0))
    assert found.hours == pytest.approx(hours / (on.gpus or on.workers))
    assert found.dollars == pytest.approx(hours * (PRICES.gpu_hour if on.gpus else PRICES.core_hour))
    assert (found.stage, found.read) == (scorer.partition(":")[0], 0)  # the pictures are read together with CLIP's


def test_on_a_core_pairs_are_as_seen_and_captions_as_many_times_slower_as_the_model_is_larger() -> None:
    itm, blip2 = needs("blip_itm", "blip2")
    assert itm
    assert blip2
    pairs_per_second = CORPUS.scored * 5 / (itm.hours * 3600)  # on the two cores
    assert 1.0 <= pairs_per_second <= 1.3
    assert (blip2.core_hours / CORPUS.scored) / (itm.core_hours / CORPUS.scored / 5) == pytest.approx(3.74e9 / 224e6)


def test_on_a_gpu_only_given_speeds_are_known() -> None:
    itm, blip2 = needs("blip_itm", "blip2", itm=100.0, on=GPUS)
    assert itm
    assert blip2 is None


def test_what_reads_features_costs_nothing_and_a_plug_in_is_unknown() -> None:
    class FromElsewhere(Scorer):
        def load(self, machine: Machine, /) -> LoadedScorer:
            raise NotImplementedError

    assert needs("aesthetic", "image_sequence", "clip") == []
    (cost,) = costs_of([FromElsewhere()], 1.0, 1.0, CORES)
    assert cost.needs(CORPUS, CORES, PRICES) is None


def rows(out: str) -> dict[str, str]:
    """Return the rest of each row of the table, by its stage."""
    table = out[out.index("\nstage ") :]
    return {match[1]: match[2] for match in re.finditer(r"^([a-z]\w+) +(.*\S) *$", table, re.MULTILINE)}


def test_scorers_have_rows_of_their_own_and_assumptions() -> None:
    cores = [*PLAN, "--gpus", "0"]
    plain, more = (
        rows(succeeded(mmc4("plan", *cores, *scorer)).stdout) for scorer in ([], ["--scorer", "blip_itm:k=2", "blip2"])
    )
    names = [*plain]
    after = names.index("score") + 1
    assert [*more] == [*names[:after], "blip_itm", "blip2", *names[after:]]
    assert more["score"] == plain["score"]
    assert more["total"] != plain["total"]
    out = succeeded(mmc4("plan", *cores, "--scorer", "blip_itm:k=2", "blip2")).stdout
    for stated in ("--itm_pairs_per_second", "--captions_per_second", "3.74 billion", "224 million"):
        assert stated in " ".join(out.split())


def test_scorers_of_the_recipe_are_counted_and_unknown_ones_are_shown_before_the_total(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("extends: mmc4\nscores: [clip, blip_itm, aesthetic]\n")
    listed = ("--recipe", str(tmp_path / "own.yaml"))
    found = succeeded(mmc4("plan", *PLAN, "--gpus", "1", *listed)).stdout
    assert set(rows(found)["blip_itm"].split()) == {"?"}
    assert "--itm_pairs_per_second" in found
    known = rows(succeeded(mmc4("plan", *PLAN, "--gpus", "1", *listed, "--itm_pairs_per_second", "50")).stdout)
    assert "?" not in known["blip_itm"]
    assert "GPUs" in known["blip_itm"]
    assert "aesthetic" not in known


@pytest.mark.parametrize(
    "arguments",
    [
        ["--scorer", "blip3"],
        ["--scorer", "blip_itm:k=0"],
        ["--itm_pairs_per_second", "0"],
        ["--captions_per_second", "-1"],
    ],
)
def test_wrong_scorers_and_speeds_are_refused_in_one_line(arguments: list[str]) -> None:
    assert arguments[0] in refusal(mmc4("plan", *PLAN, *arguments))
