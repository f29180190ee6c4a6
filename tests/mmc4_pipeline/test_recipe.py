"""Recipes: the paper's numbers, refused values, and what a later recipe may change."""

from pathlib import Path

import pytest

from filters.aspect_ratio import AspectRatio
from filters.document import DocumentRules, ShareAbove
from filters.resolution import Resolution
from mmc4_pipeline.assignment import Assignment
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.recipe import load_recipe, loosened, parse_recipe, recipe_names


def test_the_paper_s_numbers() -> None:
    recipe = load_recipe("mmc4")
    assert recipe.crawl == "CC-MAIN-2019-18"
    assert recipe.images.max_side == 800
    assert recipe.filters["resolution"] == Resolution(150)
    assert recipe.filters["aspect_ratio"] == AspectRatio(0.5, 2.0)
    assert recipe.filters["document_duplicates"].max_distance == 5
    assert recipe.filters["nsfw"].max_probability == 0.1
    assert recipe.filters["similarity"].min == 0.15
    assert "faces" not in recipe.filters


def test_core_and_fewer_faces_are_stricter_than_the_full_corpus() -> None:
    core = load_recipe("mmc4-core")
    assert core.filters["document_duplicates"].max_distance == 10
    assert core.filters["document"] == DocumentRules(2, 15, 4, 40, ShareAbove(0.25, 0.75))
    assert "faces" in load_recipe("mmc4-core-ff").filters
    for name in ("mmc4", "mmc4-ff", "mmc4-core", "mmc4-core-ff"):
        assert loosened(load_recipe("mmc4"), load_recipe(name)) == []


def test_more_links_are_another_corpus() -> None:
    paper, more = load_recipe("mmc4"), load_recipe("mmc4-links")
    assert set(more.links.attributes) > set(paper.links.attributes)
    assert any("links" in problem for problem in loosened(paper, more))
    assert "mmc4-links" in recipe_names()


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_comes_back_from_its_manifest(name: str) -> None:
    recipe = load_recipe(name)
    assert parse_recipe(recipe.to_json(), name) == recipe


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("filters.resolution.min_sid=3", "filters.resolution: unknown key 'min_sid'; allowed: min_side"),
        ("filters.resolutoin.min_side=3", "filters: unknown key 'resolutoin'; allowed: .*resolution.*plug-in"),
        ("filters.resolution.min_side=0", "filters.resolution.min_side: .*greater than or equal to 1"),
        ("filters.resolution.min_side=large", "filters.resolution.min_side: .*valid integer"),
        ("filters.aspect_ratio.min=3", "filters.aspect_ratio: .*min .3.0.*max"),
        ("filters.document.share_above={similarity: 0.2, shar: 1}", "share_above: unknown key 'shar'"),
        ("filters.nsfw.max_probability=1.5", "max_probability: .*less than or equal to 1"),
        ("filters.url=png", "filters.url: "),
        ("filters.resolution={}", "filters.resolution.min_side: "),
        ("filters=[url]", r"filters: .*\['url'\]"),
        ("filters.1=2", "filters: unknown key '1'"),
        ("crawl=null", "recipe mmc4: crawl: "),
        ("assignment=greedy", "assignment.method: .*'hungarian'.*'max'.*'page'"),
        ("assignment=[max]", r"assignment: .*\['max'\]"),
        ("assignment.windo=3", "assignment: unknown key 'windo'; allowed: method, window, by"),
        ("assignment.window=-1", "assignment.window: .*greater than or equal to 0"),
        (f"assignment.window={10**20}", "recipe mmc4: .*64-bit"),
        ("filters.image_text_ratio={min: 2, max: 1}", "filters.image_text_ratio: .*min .2.0.*max"),
        ("assignment.by={}", "assignment.by: .*at least 1"),
        ("assignment.by={similarity: 0}", "assignment.by.similarity: .*greater than 0"),
        ("assignment={method: page, window: 3}", "assignment: .*page.*window"),
        ("assignment={method: page, by: itm}", "assignment: .*page.*by"),
        ("links.attributes=[]", "links: .*at least one"),
        ("links.attributes=['']", "links: .*'' .*data-src"),
        ("links.attributes=[src, data src]", "links: .*'data src' .*data-src"),
        ("links.attributes=[Data-Src]", "links: .*'Data-Src' .*lower case"),
        ("links.attributes=src", "links.attributes"),
        ("filters.main_content={}", "filters.main_content: needs links.main_content: true"),
        ("colour=red", "unknown key 'colour'; allowed: crawl, text_source, locate, links"),
        ("filters", "KEY=VALUE"),
    ],
)
def test_invalid_values_are_refused_by_name(override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load_recipe("mmc4", (override,))


def test_main_content_is_filtered_where_it_is_measured() -> None:
    recipe = load_recipe("mmc4", ("links.main_content=true", "filters.main_content={}"))
    assert list(recipe.filters)[-1] == "main_content"
    assert parse_recipe(recipe.to_json(), "mmc4") == recipe


def test_a_recipe_names_the_filters_that_need_places() -> None:
    needing = {name: found for name in recipe_names() if (found := load_recipe(name).needing_places)}
    assert needing == {"mmc4-page": ["assignment"], "web-page": ["filters.inside_text", "assignment"]}
    recipe = load_recipe("mmc4", ("filters.inside_text={}", "filters.images_in_a_row={max: 3}"))
    assert recipe.needing_places == ["filters.inside_text", "filters.images_in_a_row"]
    for override in ("assignment=page", "assignment.window=0"):
        assert load_recipe("mmc4", (override,)).needing_places == ["assignment"]
    assert loosened(load_recipe("mmc4"), recipe) == []  # places are always stored, so the filter may be added later
    assert len(loosened(recipe, load_recipe("mmc4"))) == 1  # it may not be removed later


def test_page_order_may_be_cut_from_the_scores_of_other_recipes() -> None:
    """The dataset then has the same images as MMC4's, in another order."""
    clip, page = load_recipe("mmc4"), load_recipe("mmc4-page")
    assert (page.assignment, page.filters) == (Assignment("page"), clip.filters)
    assert loosened(clip, page) == loosened(page, clip) == []
    web = load_recipe("web-page")
    assert (web.assignment, web.text_source) == (Assignment("page"), "page")
    assert "similarity" not in web.filters
    assert loosened(load_recipe("page-text"), web) == []


def test_null_turns_a_filter_off_and_files_extend_files(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: mmc4\nfilters: {nsfw: null, resolution: {min_side: 99}}")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nfilters: {similarity: {min: 0.3}}")
    recipe = load_recipe(str(tmp_path / "mine.yaml"), ("filters.aspect_ratio=null",))
    assert recipe.name == "mine"
    assert "nsfw" not in recipe.filters
    assert "aspect_ratio" not in recipe.filters
    assert recipe.filters["resolution"] == Resolution(99)
    assert list(recipe.filters) == [key for key in load_recipe("mmc4").filters if key not in ("nsfw", "aspect_ratio")]


def test_a_file_may_choose_the_paper_s_other_assignment(tmp_path: Path) -> None:
    (tmp_path / "shared.yaml").write_text("extends: mmc4-core\nassignment: max")
    recipe = load_recipe(str(tmp_path / "shared.yaml"))
    assert (recipe.name, recipe.assignment, recipe.to_json()["assignment"]) == ("shared", Assignment("max"), "max")
    assert load_recipe("mmc4").to_json()["assignment"] == "hungarian"  # as in manifests of earlier versions


@pytest.mark.parametrize(
    ("overrides", "assignment", "stored"),
    [
        (["assignment=max"], Assignment("max"), "max"),
        (["assignment={method: hungarian}"], Assignment(), "hungarian"),
        (["assignment={by: similarity}"], Assignment(), "hungarian"),
        (["assignment={by: {similarity: 1}}"], Assignment(), "hungarian"),
        (["assignment.window=3"], Assignment(window=3), {"method": "hungarian", "window": 3}),
        (["assignment=max", "assignment.window=0"], Assignment("max", 0), {"method": "max", "window": 0}),
        (["assignment.window=3", "assignment=max"], Assignment("max"), "max"),
        (["assignment=page"], Assignment("page"), "page"),
        (["assignment.by=itm"], Assignment(by={"itm": 1.0}), {"method": "hungarian", "by": "itm"}),
        (["assignment.by={itm: 0.5}"], Assignment(by={"itm": 0.5}), {"method": "hungarian", "by": {"itm": 0.5}}),
        (
            ["assignment={window: 1, by: {similarity: 0.7, itm: 0.3}}"],
            Assignment("hungarian", 1, {"similarity": 0.7, "itm": 0.3}),
            {"method": "hungarian", "window": 1, "by": {"similarity": 0.7, "itm": 0.3}},
        ),
    ],
)
def test_an_assignment_is_a_bare_word_or_a_mapping(
    overrides: list[str], assignment: Assignment, stored: object
) -> None:
    recipe = load_recipe("mmc4", tuple(overrides))
    assert recipe.assignment == assignment
    assert recipe.to_json()["assignment"] == stored
    assert parse_recipe(recipe.to_json(), "mmc4") == recipe


def test_a_mapping_extends_a_bare_word_and_a_bare_word_replaces_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: mmc4\nassignment: max")
    (tmp_path / "near.yaml").write_text("extends: base.yaml\nassignment: {window: 2}")
    (tmp_path / "far.yaml").write_text("extends: near.yaml\nassignment: hungarian")
    assert load_recipe(str(tmp_path / "near.yaml")).assignment == Assignment("max", 2)
    assert load_recipe(str(tmp_path / "far.yaml")).assignment == Assignment()


@pytest.mark.parametrize("content", ["- a list", "filters: [url]", "{", "extends: nowhere", "scores: &a [*a]"])
def test_an_invalid_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"broken\.yaml|nowhere"):
        load_recipe(str(path))


def test_a_recipe_that_extends_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml")
    (tmp_path / "b.yaml").write_text("extends: a.yaml")
    with pytest.raises(UserError, match="extends itself"):
        load_recipe(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("filters.resolution.min_side=100", "filters.resolution.min_side: 100 instead of 150; only higher"),
        ("filters.document_duplicates=null", "filters.document_duplicates: off"),
        ("filters.url.extensions=[png, gif]", "only fewer entries"),
        ("filters.corpus_duplicates.sample=10", "can't be changed"),
        ("images.max_side=400", "images"),
        ("crawl=CC-MAIN-2020-05", "crawl"),
    ],
)
def test_a_looser_recipe_is_noticed(override: str, problem: str) -> None:
    problems = loosened(load_recipe("mmc4"), load_recipe("mmc4", (override,)))
    assert len(problems) == 1
    assert problem in problems[0]


def test_text_filters_are_fixed_once_the_pages_are_made() -> None:
    made = load_recipe("page-text")
    assert [key for key in made.filters if key in ("lorem_ipsum", "curly_bracket", "sentences", "language")] == [
        *("lorem_ipsum", "curly_bracket", "sentences", "language")
    ]
    for override in ("filters.sentences.min=5", "filters.language=null", "filters.bad_words={list: words.txt}"):
        (problem,) = loosened(made, load_recipe("page-text", (override,)))
        assert override.partition("=")[0] in problem


def test_adding_a_filter_of_the_whole_corpus_later_is_noticed() -> None:
    scored = load_recipe("mmc4", ("filters.corpus_duplicates=null", "filters.resolution=null"))
    (problem,) = loosened(scored, load_recipe("mmc4"))
    assert problem.startswith("filters.corpus_duplicates: on")


@pytest.mark.parametrize("key", ["ads", "bad_words", "denied_content", "deny_list"])
def test_a_recipe_gives_a_filter_its_list(key: str) -> None:
    recipe = load_recipe("mmc4", (f"filters.{key}.list=a.txt",))
    assert recipe.to_json()["filters"][key]["list"] == "a.txt"


def test_lists_may_be_added_later_but_neither_removed_nor_replaced() -> None:
    without, listed = load_recipe("mmc4"), load_recipe("mmc4", ("filters.deny_list.list=a.txt", "filters.ads={}"))
    other = load_recipe("mmc4", ("filters.deny_list.list=b.txt", "filters.ads={}"))
    assert list(listed.filters)[:3] == ["deny_list", "url", "ads"]
    assert loosened(without, listed) == loosened(listed, listed) == []
    assert len(loosened(listed, without)) == 2
    (problem,) = loosened(listed, other)
    assert problem == "filters.deny_list.list: b.txt instead of a.txt; only the same value is possible now"
