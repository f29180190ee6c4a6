"""Routes: where to request an image, whether from its own host, an archive, or a server that replays the web."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime

from filters.hosts import split
from filters.web_url import web_url, without_fragment
from mmc4_pipeline.images.fetching.addresses import is_public
from mmc4_pipeline.images.fetching.origins import normal_url
from schemas.reasons import Reason

LIVE = "{url}"
_REFUSALS = (Reason.OPTED_OUT, Reason.ROBOTS, Reason.DENIED)


@dataclass(frozen=True, slots=True)
class Route:
    """A URL template with {url} and {timestamp}, filled in for one image.

    A server at a private address is not an archive but replays the web: the rate limits are then those of the image's
    own host, robots.txt is the replayed one, and redirects lead to the same server.
    """

    template: str
    timestamp: str = ""
    is_replay: bool = False

    @classmethod
    def of(cls, template: str) -> "Route":
        """Parse a template."""
        return cls(template, is_replay=_is_private(template.partition(LIVE)[0]))

    def at(self, moment: datetime) -> "Route":
        """Return the route to an image whose page was crawled at this time."""
        if "{timestamp" not in self.template:
            return self
        return Route(self.template, f"{moment.astimezone(UTC):%Y%m%d%H%M%S}", self.is_replay)

    def start_url(self, url: str) -> str:
        """Return the URL, of the web or of an archive, that is requested first for an image."""
        url = without_fragment(normal_url(url) or url)
        return url if self.is_replay else self._filled(url)

    def address(self, url: str) -> str:
        """Return the address to connect to for a URL of the web or of an archive."""
        return self._filled(url) if self.is_replay else url

    def pool_name(self, host: str) -> str | None:
        """Return the name that separates the connections for a host from others; None if their address is enough.

        A server that replays many hosts gets separate connections for each of them, as on the web: then it sees no more
        requests for one of them than that host would. (Over HTTPS the certificate is checked against the name, so there
        the hosts share their connections.)
        """
        return host if self.is_replay and self.template.startswith("http:") else None

    def original_url(self, address: str) -> str:
        """Return the URL behind an address that a redirect leads to; the reverse of `address`."""
        return address.removeprefix(web_url(self._filled("")) or "") if self.is_replay else address

    def is_final(self, reason: str | None) -> bool:
        """Return whether no other route must be tried. A host's refusal is final; an archive's refusal is not."""
        if reason in (None, Reason.OPTED_OUT, Reason.DEFERRED):
            return True
        return reason in _REFUSALS and (self.is_replay or self.template == LIVE)

    def _filled(self, url: str) -> str:
        return url if self.template == LIVE else self.template.format(url=url, timestamp=self.timestamp)


def _is_private(prefix: str) -> bool:
    """Return whether the fixed part of a template names a loopback or private address."""
    parts = split(prefix)
    host = (parts.hostname or "") if parts else ""
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:  # a name, or nothing
        return False
    return not is_public(host)
