"""Routes: where an image is asked for. At its own address, in an archive, or at a server that replays the web."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime

from filters.hosts import split
from mmc4_pipeline.images.fetching.addresses import is_public
from schemas.reasons import Reason

LIVE = "{url}"
_REFUSALS = (Reason.OPTED_OUT, Reason.ROBOTS, Reason.DENIED)


@dataclass(frozen=True, slots=True)
class Route:
    """A URL template with {url} and {timestamp}, made ready for one image.

    What is at a private address is no archive but stands in for the web: the manners are then those towards the
    image's own host, robots.txt is the one that is replayed, and redirects stay with that server.
    """

    template: str
    timestamp: str = ""
    is_replay: bool = False

    @classmethod
    def of(cls, template: str) -> "Route":
        """Read a template."""
        return cls(template, is_replay=_is_private(template.partition(LIVE)[0]))

    def at(self, moment: datetime) -> "Route":
        """Give the route to an image whose page was crawled at a moment."""
        if "{timestamp" not in self.template:
            return self
        return Route(self.template, f"{moment.astimezone(UTC):%Y%m%d%H%M%S}", self.is_replay)

    def first(self, url: str) -> str:
        """Give the URL, of the web or of an archive, that an image is first asked for at."""
        return url if self.is_replay else self._filled(url)

    def address(self, url: str) -> str:
        """Give the address to connect to for a URL of the web or of an archive."""
        return self._filled(url) if self.is_replay else url

    def pool(self, host: str) -> str | None:
        """Give the name by which the connections for a host are kept apart; None where their address is enough.

        A replay stands in for many hosts, each of which has connections of its own, as on the web: then it sees no more
        requests for one of them than that host would. aiohttp keeps connections with different TLS names apart, and
        over plain HTTP such a name means nothing else. (Over HTTPS it is what the certificate is checked for: there the
        hosts share their connections.)
        """
        return host if self.is_replay and self.template.startswith("http:") else None

    def original(self, address: str) -> str:
        """Give the URL that an address to connect to stands for: what a redirect leads to."""
        return address.removeprefix(self._filled("")) if self.is_replay else address

    def is_final(self, reason: str | None) -> bool:
        """Tell whether no other route is to be asked. A host's refusal is final, an archive's is the archive's own."""
        if reason in (None, Reason.OPTED_OUT, Reason.DEFERRED):
            return True
        return reason in _REFUSALS and (self.is_replay or self.template == LIVE)

    def _filled(self, url: str) -> str:
        return self.template.format(url=url, timestamp=self.timestamp)


def _is_private(prefix: str) -> bool:
    """Tell whether the fixed part of a template names a loopback or private address."""
    parts = split(prefix)
    host = (parts.hostname or "") if parts else ""
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:  # a name, or nothing
        return False
    return not is_public(host)
