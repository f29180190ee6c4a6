from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from mmc4_pipeline.dataset.cut import CutDocument
from mmc4_pipeline.report.statistics import shard_statistics
from schemas.reasons import Reason
from schemas.statistics import Statistics

PLANS = st.lists(
    st.tuples(
        st.lists(st.floats(-1, 1, width=32), max_size=6),
        st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
        st.sampled_from([None, Reason.DOCUMENT]),
    ),
    max_size=12,
)


def test_statistics_count_what_was_planted(make_document: Callable[..., CutDocument]) -> None:
    kept = make_document("a" * 32, [0.31, 0.15], size=(640, 410))
    dropped = make_document("b" * 32, [-1.0, 1.0], reason=Reason.DOCUMENT)
    assert shard_statistics([kept, dropped]).to_json() == {
        "matched_similarity": {"7": 1, "15": 1},
        "best_similarity": {"-25": 1, "7": 1, "15": 1, "49": 1},
        "images": {"2": 1},
        "sentences": {"4": 1},
        "short_side": {"8": 2},
    }


@given(plans=PLANS, cut=st.integers(0, 12))
def test_statistics_of_parts_add_up_to_those_of_the_whole(
    make_document: Callable[..., CutDocument],
    plans: list[tuple[list[float], tuple[int, int], Reason | None]],
    cut: int,
) -> None:
    documents = [
        make_document(f"{number:032x}", similarities, size=size, reason=reason)
        for number, (similarities, size, reason) in enumerate(plans)
    ]
    total = Statistics()
    for part in (documents[:cut], documents[cut:]):
        total += Statistics.from_json(shard_statistics(part).to_json())
    whole = shard_statistics(documents)
    assert total == whole
    assert Statistics.from_json(whole.to_json()) == whole
    assert whole.images.total() == sum(document.reason is None for document in documents)
    assert whole.matched_similarity.total() == sum(len(document.placed) for document in documents)
    assert whole.best_similarity.total() == sum(len(document.scores) for document in documents)
