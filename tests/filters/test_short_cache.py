"""Caches of what comes from texts that others wrote."""

from filters.short_cache import short_cache


def test_only_results_for_short_texts_are_kept() -> None:
    calls: list[tuple[str, ...]] = []

    @short_cache(2, 5)
    def together(*texts: str) -> str:
        calls.append(texts)
        return "".join(texts)

    for texts in [("ab", "cde"), ("ab", "cdef"), ("abcdef",)]:
        assert together(*texts) == together(*texts) == "".join(texts)
    assert calls == [("ab", "cde"), ("ab", "cdef"), ("ab", "cdef"), ("abcdef",), ("abcdef",)]


def test_only_so_many_results_are_kept() -> None:
    calls: list[str] = []

    @short_cache(2, 5)
    def same(text: str) -> str:
        calls.append(text)
        return text

    assert [same(text) for text in "abcbca"] == list("abcbca")
    assert calls == ["a", "b", "c", "a"]
