"""Tokens: the same as open_clip's, for any text."""

import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.clip.tokens import Tokenizer

THEIRS = open_clip.get_tokenizer("ViT-L-14")
OURS = Tokenizer(THEIRS)
SHORT = Tokenizer(open_clip.get_tokenizer("ViT-L-14", context_length=8))


def assert_same(sentences: list[str]) -> None:
    assert torch.equal(OURS(sentences), THEIRS(sentences))


@given(st.lists(st.text(max_size=80), max_size=4))
def test_any_text(sentences: list[str]) -> None:
    assert_same(["another sentence", *sentences])


@given(st.text(st.sampled_from("aB1 '.,&;<>-_\t\n\x1b\xa0éß\u2019“…ﬁ中ไ🙂"), max_size=60))
def test_texts_that_open_clip_repairs(sentence: str) -> None:
    assert_same([sentence])


@pytest.mark.parametrize(
    "sentence",
    [
        "It's Tom &amp; Jerry's &lt;b&gt;bold&lt;/b&gt; day, we'll say they'd I'm you've.",
        "schÃ¶n, the café\u2019s “menu” … — ﬁne ½ №5",
        "<start_of_text> nested <end_of_text> tokens",
        "word " * 5000,
        "1234567890" * 300,
        "x" * 1500,
        "ภาษาไทยไม่มีช่องว่างระหว่างคำ" * 60,
        "中文没有空格" * 100,
        "",
        "   ",
    ],
)
def test_sentences_that_are_odd_or_too_long(sentence: str) -> None:
    assert_same([sentence, "and another"])
    theirs = open_clip.get_tokenizer("ViT-L-14", context_length=8)
    assert torch.equal(SHORT([sentence]), theirs([sentence]))


def test_an_empty_list_has_no_tokens() -> None:
    assert OURS([]).shape == (0, 77)


def test_a_word_without_end_takes_no_more_than_a_long_one() -> None:
    (tokens,) = OURS(["ab" * 2_000_000])
    assert torch.equal(tokens, OURS(["ab" * 3_000])[0])
    assert tokens[-1] == THEIRS.eot_token_id


def test_other_models_keep_their_tokenizer() -> None:
    upper = open_clip.SimpleTokenizer(clean="whitespace")
    assert torch.equal(Tokenizer(upper)(["Two Words"]), upper(["Two Words"]))
