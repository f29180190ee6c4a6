"""Each filter: what it keeps, what it drops, at its edges."""

import pytest

from filters.ads_zero_shot import AdsZeroShot
from filters.aspect_ratio import AspectRatio
from filters.base import AssignedDocument, ImageFilter, Stricter
from filters.consent import Consent
from filters.corpus_copies import CorpusCopies
from filters.corpus_duplicates import CorpusDuplicates
from filters.document import DocumentRules, ShareAbove
from filters.document_duplicates import DocumentDuplicates
from filters.faces import Faces
from filters.image_text_ratio import ImageTextRatio
from filters.images_in_a_row import ImagesInARow
from filters.inside_text import InsideText
from filters.main_content import MainContent
from filters.nsfw import Nsfw
from filters.resolution import Resolution
from filters.similarity import Similarity
from filters.url import Url
from schemas.image import Image
from schemas.page import ImageLink
from schemas.reasons import Reason
from schemas.score import ImageScore


def image(**measured: object) -> Image:
    return Image(key="0" * 32, position=0, url="https://a.example/a.jpg", **measured)


def link(url: str) -> ImageLink:
    return ImageLink(0, url, "", None, None)


MMC4_URL = Url(("png", "jpeg", "jpg"), ("logo", "button", "icon", "plugin", "widget"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://a.example/photo.jpg", None),
        ("https://a.example/PHOTO.JPEG?w=300", None),
        ("https://a.example/photo.png#top", None),
        ("https://a.example/photo.gif", Reason.URL_EXTENSION),
        ("https://a.example/photo.jpg/", None),  # the last part of the path counts
        ("https://a.example/photo", Reason.URL_EXTENSION),
        ("https://a.example/show?file=photo.jpg", Reason.URL_EXTENSION),
        ("https://a.example/Site-LOGO.png", Reason.URL_TOKEN),
        ("https://a.example/wp-content/plugins/x/photo.png", Reason.URL_TOKEN),
        ("https://favicon.example/photo.png", Reason.URL_TOKEN),
        ("http://[broken/photo.jpg", Reason.URL_EXTENSION),
    ],
)
def test_url(url: str, reason: Reason | None) -> None:
    assert MMC4_URL.decide(link(url)) == reason


@pytest.mark.parametrize(("in_main_content", "reason"), [(True, None), (False, Reason.NOT_MAIN_CONTENT), (None, None)])
def test_main_content(*, in_main_content: bool | None, reason: Reason | None) -> None:
    measured = link("https://a.example/photo.jpg")
    measured.in_main_content = in_main_content
    assert MainContent().decide(measured) == reason


@pytest.mark.parametrize(("inside_text", "reason"), [(True, None), (False, Reason.OUTSIDE_TEXT), (None, None)])
def test_inside_text(*, inside_text: bool | None, reason: Reason | None) -> None:
    found = link("https://a.example/photo.jpg")
    found.inside_text = inside_text
    assert InsideText().decide(found) == reason


@pytest.mark.parametrize(
    ("images", "words", "kept"),
    [(1, 10, True), (2, 10, True), (3, 10, False), (1, 100, True), (1, 101, False), (1, 0, False), (0, 10, False)],
)
def test_image_text_ratio(images: int, words: int, *, kept: bool) -> None:
    document = AssignedDocument(3, [0.3] * images, words)
    assert ImageTextRatio(min=0.01, max=0.2).decide(document) == (None if kept else "image_text_ratio")
    assert ImageTextRatio().decide(document) is None


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ([], True),
        ([-1, -1, 0, 2, 2], True),
        ([-1, 0, 0, 0, 1], False),
        ([None, None, None], True),  # nothing is known about these
    ],
)
def test_images_in_a_row(after: list[int | None], *, kept: bool) -> None:
    document = AssignedDocument(3, [0.3] * len(after), after_sentences=after)
    assert ImagesInARow(2).decide(document) == (None if kept else "images_in_a_row")


@pytest.mark.parametrize(
    ("headers", "opted_out"),
    [
        (None, False),
        ("all", False),
        ("noai", True),
        ("NoAI", True),
        ("noimageai, nofollow", True),
        ("nofollow, noindex", True),
        ("otherbot: noindex", False),
        ("otherbot: nofollow, noindex", False),
        ("otherbot: noai", True),
        ("img2dataset: noindex", True),
        ("otherbot: noindex\nnoimageindex", True),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noindex", True),
        ("noaiming", False),
        ("max-image-preview:large, noindex", True),
        ("max-snippet:-1, max-image-preview:none, noimageindex", True),
        ("max-video-preview:-1, noindex, nofollow", True),
        ("max-image-preview : large , noindex", True),
        ("unavailable_after: Friday, 25-Jun-10 15:00:00 PST, noindex", True),
        ("unavailable_after: 2010-06-25T15:00:00Z, noindex", True),
        ("none", True),
        ("*: noindex", True),
        ("img2dataset: none", True),
        ("otherbot: none", False),
        ("otherbot: max-image-preview:large, noindex", False),
        ("otherbot: unavailable_after: 25 Jun 2010 15:00:00 PST, noindex", False),
        ("otherbot: nofollow, img2dataset: noindex", True),
        ("img2dataset: nofollow, otherbot: noindex", False),
        ("max-image-preview:none", False),
        ("max-image-preview:large", False),
        ("nofollow\nmax-snippet:-1\nNOINDEX", True),
    ],
)
def test_consent(headers: str | None, *, opted_out: bool) -> None:
    assert (Consent().decide(image(robots_tag=headers)) == Reason.OPTED_OUT) is opted_out


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [(150, 150, None), (149, 800, Reason.TOO_SMALL), (800, 149, Reason.TOO_SMALL), (None, None, None)],
)
def test_resolution(width: int | None, height: int | None, reason: Reason | None) -> None:
    assert Resolution(150).decide(image(width=width, height=height)) == reason


@pytest.mark.parametrize(
    ("width", "height", "reason"),
    [(200, 400, None), (400, 200, None), (199, 400, Reason.ASPECT_RATIO), (401, 200, Reason.ASPECT_RATIO)],
)
def test_aspect_ratio(width: int, height: int, reason: Reason | None) -> None:
    assert AspectRatio(0.5, 2.0).decide(image(width=width, height=height)) == reason


def test_aspect_ratio_refuses_an_empty_range() -> None:
    with pytest.raises(ValueError, match="above max"):
        AspectRatio(2.0, 0.5)


def test_document_duplicates_keep_the_first_of_several() -> None:
    images = [
        image(phash=0, sha256="a"),
        image(phash=0b11111, sha256="b"),  # 5 bits from the first
        image(phash=0b111111, sha256="c"),  # 6 bits from the first, 1 from the dropped one
        image(phash=1 << 63, sha256="c"),  # the same bytes as the one before it
        image(phash=None, sha256=None),
        image(phash=None, sha256=None),
    ]
    duplicate = Reason.DOCUMENT_DUPLICATE
    assert DocumentDuplicates(5).decide(images) == [None, duplicate, None, duplicate, None, None]


def test_corpus_duplicates_learn_what_is_too_common() -> None:
    rule = CorpusDuplicates(sample=100, max_in_sample=3, max_distance=5)
    placeholder, common_enough = 0xF0F0F0F0F0F0F0F0, 0x0123456789ABCDEF
    sample = [placeholder, placeholder ^ 1, placeholder ^ 3, placeholder, placeholder ^ 7, *[common_enough] * 4]
    learned = rule.learn(sample)
    assert set(learned) == {placeholder, placeholder ^ 1, placeholder ^ 3, placeholder ^ 7}
    assert rule.decide(image(phash=placeholder ^ (1 << 40)), learned) == Reason.CORPUS_DUPLICATE
    assert rule.decide(image(phash=common_enough), learned) is None
    assert rule.decide(image(), learned) is None


def test_corpus_copies_drop_exactly_the_hashes_with_too_many() -> None:
    rule = CorpusCopies(max_copies=3, max_distance=5)
    learned = [3, 2**63, 2**64 - 1]
    for common in learned:
        assert rule.decide(image(phash=common), learned) == Reason.CORPUS_DUPLICATE
    for other in (0, 2, 2**63 + 1):
        assert rule.decide(image(phash=other), learned) is None
    assert rule.decide(image(), learned) is None
    assert rule.decide(image(phash=3), []) is None


@pytest.mark.parametrize("rule", [Nsfw(0.1), Faces(0.1), AdsZeroShot(0.1)])
def test_probability_filters_drop_above_the_limit_and_what_has_none(rule: Nsfw | Faces | AdsZeroShot) -> None:
    dropped = {Nsfw: Reason.NSFW, Faces: Reason.FACE, AdsZeroShot: Reason.AD}[type(rule)]
    assert rule.decide(ImageScore(0, {"nsfw": 0.1, "face": 0.1, "ad": 0.1})) is None
    assert rule.decide(ImageScore(0, {"nsfw": 0.11, "face": 0.11, "ad": 0.11})) == dropped
    assert rule.decide(ImageScore(0, {})) == dropped


def test_similarity_needs_one_sentence_that_is_close_enough() -> None:
    assert Similarity(0.15).decide(ImageScore(0, {"similarity": [0.1, 0.15]})) is None
    assert Similarity(0.15).decide(ImageScore(0, {"similarity": [0.1, 0.14]})) == Reason.LOW_SIMILARITY
    assert Similarity(0.15).decide(ImageScore(0, {})) == Reason.LOW_SIMILARITY


CORE = DocumentRules(2, 15, 4, 40, ShareAbove(0.25, 0.75))


@pytest.mark.parametrize(
    ("sentences", "matched", "kept"),
    [
        (4, [0.3, 0.3], True),
        (3, [0.3, 0.3], False),
        (40, [0.3] * 15, True),
        (41, [0.3] * 2, False),
        (10, [0.3], False),
        (10, [0.3] * 16, False),
        (10, [0.3, 0.3, 0.3, 0.2], True),
        (10, [0.3, 0.3, 0.25, 0.2], False),  # 0.25 is not above 0.25
    ],
)
def test_document_rules_of_core(sentences: int, matched: list[float], *, kept: bool) -> None:
    assert (CORE.decide(AssignedDocument(sentences, matched)) is None) is kept


def test_a_document_without_images_is_dropped_by_default() -> None:
    assert DocumentRules().decide(AssignedDocument(10, [])) == Reason.DOCUMENT


def test_an_image_that_was_not_measured_is_kept() -> None:
    for item in (Consent(), Resolution(150), AspectRatio(0.5, 2.0)):
        assert isinstance(item, ImageFilter)
        assert item.decide(image()) is None


@pytest.mark.parametrize(
    ("direction", "before", "same", "stricter", "looser"),
    [
        (Stricter.HIGHER, 5, 5, 6, 4),
        (Stricter.LOWER, 5, 5, 4, 6),
        (Stricter.SUBSET, ("a", "b"), ("b", "a"), ("a",), ("a", "c")),
        (Stricter.SUPERSET, ("a", "b"), ("b", "a"), ("a", "b", "c"), ("a",)),
        (Stricter.SAME, "a.txt", "a.txt", "a.txt", "b.txt"),
    ],
)
def test_directions(direction: Stricter, before: object, same: object, stricter: object, looser: object) -> None:
    assert direction.allows(before, same)
    assert direction.allows(before, stricter)
    assert not direction.allows(before, looser)
