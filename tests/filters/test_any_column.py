"""at_least and at_most: filters by any column of the scores, under keys of the recipe's own."""

from pathlib import Path

import pytest

from filters.at_least import AtLeast
from filters.at_most import AtMost
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.recipe import load_recipe, parse_recipe
from schemas.score import ImageScore


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ({"beauty": 5.0}, None, None),
        ({"beauty": 4.9}, "beauty", None),
        ({"beauty": 5.1}, None, "beauty"),
        ({"beauty": [1.0, None, 5.1]}, None, "beauty"),
        ({"beauty": [None, None]}, "beauty", "beauty"),
        ({"beauty": None}, "beauty", "beauty"),
        ({"other": 5.0}, "beauty", "beauty"),
    ],
)
def test_the_value_decides_and_an_image_without_one_is_dropped(
    values: dict[str, object], low: str | None, high: str | None
) -> None:
    score = ImageScore(0, values)
    assert (AtLeast("beauty", 5.0).decide(score), AtMost("beauty", 5.0).decide(score)) == (low, high)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "own.yaml").write_text(
        "extends: mmc4\nscores: [clip, aesthetic]\nfilters:\n"
        "  beauty: {filter: at_least, column: aesthetic, min: 5}\n"
        "  kitsch: {filter: at_most, column: aesthetic, max: 8.5}\n"
    )
    (tmp_path / "child.yaml").write_text(
        "extends: own.yaml\nfilters: {kitsch: null, beauty: {min: 6}, large: {filter: resolution, min_side: 400}}\n"
    )
    return str(tmp_path)


def test_a_recipe_has_several_under_its_own_keys(recipe: str) -> None:
    own, child = load_recipe(f"{recipe}/own.yaml"), load_recipe(f"{recipe}/child.yaml")
    assert own.score_names == child.score_names == ("clip", "aesthetic")
    assert list(own.filters)[-2:] == ["beauty", "kitsch"]
    assert (own.filters["beauty"], own.filters["kitsch"]) == (AtLeast("aesthetic", 5), AtMost("aesthetic", 8.5))
    assert list(child.filters)[-2:] == ["beauty", "large"]
    assert child.filters["beauty"] == AtLeast("aesthetic", 6)
    assert type(child.filters["large"]) is type(child.filters["resolution"])
    for made in (own, child):
        assert parse_recipe(made.to_json(), made.name) == made


def test_the_command_line_changes_them_and_turns_them_off(recipe: str) -> None:
    changed = load_recipe(f"{recipe}/own.yaml", ("filters.beauty.min=7", "filters.kitsch=null"))
    assert changed.filters["beauty"] == AtLeast("aesthetic", 7)
    assert "kitsch" not in changed.filters


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("filters.own={filter: at_leats, column: a, min: 1}", "filters.own.filter: .*at_leats.*at_least"),
        ("filters.nsfw={filter: at_least, column: a, min: 1}", "filters.nsfw: "),
        ("filters.own={filter: at_least, column: a}", "filters.own.min: is missing"),
        ("filters.own={filter: at_least, column: a, max: 1}", "filters.own: unknown key 'max'; allowed: column, min"),
        ("filters.my-own={filter: at_least, column: a, min: 1}", "filters.my-own: "),
        ("filters.own={column: a, min: 1}", "filters: unknown key 'own'"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_key(override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load_recipe("mmc4", (override,))
