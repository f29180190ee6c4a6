"""The web as the estimate and `benchmarks/crawl_simulation.py` assume it: C4's sites, their hosts and images.

Site sizes: the head is Common Crawl's published top 500 (commoncrawl.github.io/cc-crawl-statistics), the tail a power
law, scaled to C4's 365 million documents. Images per document: MMC4 received 3.75 (1.37 billion from all of C4, see
arXiv:2304.06939). Assumed, not measured: a quarter of the images on 20 shared hosts; 8% of hosts dead, 4% hanging; 20%
of the responses 404; latencies of 0.15 to 1.5 s.
"""

import numpy as np
import numpy.typing as npt

DOCUMENTS, SITES, TOP = 365_000_000, 15_700_000, 500
# Rank and percentage of all pages of the largest sites; the ranks between are interpolated.
HEAD = [
    (1, 0.600962), (2, 0.200215), (3, 0.108873), (5, 0.085182), (10, 0.060121), (20, 0.043386), (30, 0.034286),
    (50, 0.023078), (100, 0.0142), (150, 0.011), (200, 0.0086), (250, 0.00745), (300, 0.00676), (400, 0.00556),
    (500, 0.0048),
]  # fmt: skip
_EXPONENT = 0.7834193542523604  # of the tail: all sites together then have all documents
# After the rules for URLs, and the share of them that are different within a shard.
LINKS_PER_DOCUMENT, DISTINCT = 3.84, 0.9
CRAWL_DELAY_SHARE = 0.05  # of the hosts
SHARED_SHARE = 0.25  # of the images, on hosts that serve the pages of many sites
DEAD, HANGING, MISSING = 0.08, 0.04, 0.2  # shares of the other hosts; share of the responses that are 404
LATENCIES = (0.15, 0.3, 0.3, 0.6, 1.5)  # seconds, each as frequent; a response varies by the exponential of a normal
LATENCY_SPREAD = 0.5  # standard deviation of that normal
CRAWL_DELAYS = (1, 2, 5, 10, 10, 10, 20, 30)  # seconds, each as frequent


def site_sizes(ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the number of C4's documents on the sites of these ranks, 1 for the largest."""
    known, share = np.array(HEAD).T
    head = np.exp(np.interp(np.log(ranks), np.log(known), np.log(share / 100 * DOCUMENTS)))
    tail = np.maximum(1, head_end() * (ranks / TOP) ** -_EXPONENT)
    return np.where(ranks <= TOP, head, tail)


def head_end() -> float:
    """Return the number of documents on the last site of the head."""
    return HEAD[-1][1] / 100 * DOCUMENTS
