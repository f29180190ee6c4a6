"""How an estimate's figures are written."""

import pytest

from mmc4_pipeline.estimate.table import dollars, duration, in_words, short_bytes


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0.4567, "0.46"),
        (9.96, "10"),
        (123, "120"),
        (356_317, "360,000"),
        (999_999, "1 million"),
        (2.54e9, "2.5 billion"),
    ],
)
def test_numbers_have_two_digits_that_count(number: float, words: str) -> None:
    assert in_words(number) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0, "-"), (12, "12 B"), (83_000, "83 kB"), (999_999_999, "1 GB"), (37.6e12, "38 TB")]
)
def test_bytes_have_a_unit(number: float, words: str) -> None:
    assert short_bytes(number) == words


@pytest.mark.parametrize(
    ("hours", "words"),
    [(0.01, "<1 min"), (0.1, "6 min"), (4.94, "4.9 h"), (47, "47 h"), (49, "2 days"), (1000, "42 days")],
)
def test_durations_have_a_unit(hours: float, words: str) -> None:
    assert duration(hours) == words


@pytest.mark.parametrize(("amount", "words"), [(0, "$0.00"), (0.424, "$0.42"), (9.87, "$9.9"), (1_712, "$1,700")])
def test_dollars_have_cents_only_when_small(amount: float, words: str) -> None:
    assert dollars(amount) == words
