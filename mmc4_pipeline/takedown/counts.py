"""Changes counts as if what a takedown removes had been denied from the start."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from mmc4_pipeline.takedown.verdicts import Verdict
from schemas.ledger import LedgerRow
from schemas.manifest import CutPlan
from schemas.reasons import Reason, Stage
from schemas.statistics import Counts

StageCounts = dict[Stage, dict[str, Counts]]  # by stage and by what was counted
_BEFORE_CUT = (Stage.PAGES, Stage.IMAGES, Stage.SCORE)


def counts_of_shard(
    counts: Mapping[str, Counts],
    verdicts: Sequence[Verdict],
    newly_denied: Sequence[LedgerRow],
    *,
    denied_documents: int,
    removed_documents: int,
) -> dict[str, Counts]:
    """Return the new counts of a dataset's shard. Denied documents and links no longer reach the cut stage.

    The ledger does not list documents without links, so it is unknown why the cut had dropped denied ones:
    they are subtracted from `document`, the reason of the built-in filter, and then from other reasons.
    """
    documents, links = counts["documents"].in_order(), Counts(counts["links"].seen)
    documents.seen -= denied_documents
    documents.kept -= removed_documents
    documents.dropped.update(verdict.drop.reason for verdict in verdicts if verdict.drop)
    too_many = documents.dropped.total() - (documents.seen - documents.kept)
    for reason in (Reason.DOCUMENT.value, *sorted(documents.dropped)):
        subtracted = min(too_many, documents.dropped[reason])
        documents.dropped[reason] -= subtracted
        too_many -= subtracted
    documents.dropped = +documents.dropped
    links.seen -= sum(row.stage in (None, Stage.CUT) for row in newly_denied)
    after = (row for verdict in verdicts for row in verdict.after)
    links.decide(row.reason for row in after if row.stage in (None, Stage.CUT))
    return {"documents": documents, "links": links}


def change_before(newly_denied: Sequence[LedgerRow], documents: int, stages: Collection[Stage]) -> StageCounts:
    """Return what to add to the counts of the earlier stages, given the former rows of denied links.

    The first stage drops denied documents, the pages stage denied links: no later stage sees them.
    """
    change: StageCounts = {stage: {} for stage in stages}
    links = {stage: Counts() for stage in _BEFORE_CUT}
    for row in newly_denied:
        for stage in _BEFORE_CUT:
            if stage is Stage.PAGES:
                links[stage].dropped[Reason.DENIED.value] += 1
            else:
                links[stage].seen -= 1
            if row.stage is stage:
                links[stage].dropped[row.reason or Reason.DENIED.value] -= 1
                break
            links[stage].kept -= 1
    for stage, count in links.items():
        if stage in change:
            change[stage]["links"] = count
    first = next((stage for stage in (Stage.LOCATE, Stage.PAGES) if stage in change), None)
    if first is not None:
        change[first]["documents"] = Counts(0, -documents, Counter({Reason.DENIED.value: documents}))
    if first is Stage.LOCATE and Stage.PAGES in change:
        change[Stage.PAGES]["documents"] = Counts(-documents, -documents)
    return change


def counts_before(
    plan: CutPlan, by_fingerprint: Mapping[str, dict[str, Counts]], changes: Sequence[StageCounts]
) -> StageCounts:
    """Return the new counts of the earlier stages in a dataset's plan.

    They are those of the stages that are still there, found by the fingerprint of their former files; for the others
    they follow from the ledger (`changes`, one per shard).
    """
    result = {}
    for stage, known in plan.before.items():
        fingerprint = getattr(plan.input, stage.value)
        result[stage] = by_fingerprint.get(fingerprint) or {
            what: _added(count, [change[stage][what] for change in changes if what in change.get(stage, {})])
            for what, count in known.items()
        }
    return result


def counts_with_changed_shards(
    total: Mapping[str, Counts], changes: Sequence[tuple[Mapping[str, Counts], Mapping[str, Counts]]]
) -> dict[str, Counts]:
    """Return the counts of all shards, given for each changed one its counts before and after."""
    result = {}
    for what, count in total.items():  # some shards lack some of them: only the readers of WARC files count records
        before = [old[what] for old, _ in changes if what in old]
        less = [Counts(-old.seen, -old.kept, _negative(old.dropped)) for old in before]
        result[what] = _added(count, [*less, *(new[what] for _, new in changes if what in new)])
    return result


def _negative(dropped: Mapping[str, int]) -> Counter[str]:
    return Counter({reason: -number for reason, number in dropped.items()})


def _added(count: Counts, changes: Sequence[Counts]) -> Counts:
    """Add changes, which may be negative: adding Counters would leave those out."""
    total = count.in_order()
    for change in changes:
        total.seen += change.seen
        total.kept += change.kept
        total.dropped.update(change.dropped)
    total.dropped = Counter({reason: number for reason, number in total.dropped.items() if number})
    return total.in_order()
