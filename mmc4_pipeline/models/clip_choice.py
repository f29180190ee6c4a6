"""Which CLIP: its model and weights, by name or by file."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mmc4_pipeline.models import catalogue

RANDOM = "random"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ClipChoice:
    """Which CLIP: an open_clip model name or the path of a config (.json); a tag of weights, a file or "random"."""

    model: str
    pretrained: str

    @property
    def model_name(self) -> str:
        """The name under which open_clip knows the model (that of a config file is its stem)."""
        return Path(self.model).stem if self.model.endswith(".json") else self.model

    @property
    def name(self) -> str:
        """A name for this model's scores: "ViT-L-14_openai"."""
        weights = Path(self.pretrained).stem if self.is_file else self.pretrained
        return f"{self.model_name}_{weights}".replace("/", "-")

    @property
    def is_file(self) -> bool:
        """Whether the weights are a local file."""
        return Path(self.pretrained).is_file()

    def identity(self) -> dict[str, str]:
        """Give what scores depend on: the model, and the weights by tag or by content.

        OpenAI's own file of ViT-L/14 goes by its tag: they are the same weights.
        """
        weights = file_sha256(self.pretrained) if self.is_file else self.pretrained
        published = catalogue.CLIP_IDENTITY["weights"] if weights == catalogue.CLIP.sha256 else weights
        return {"model": self.model_name, "weights": published}

    def may_be(self, other: Mapping[str, str]) -> bool:
        """Whether this may be the CLIP of that identity: not where the names differ, nor two tags or two contents.

        A tag and a content can't be compared. Random weights may be any: they are for trying.
        """
        own = self.identity()
        names = {identity["model"].removesuffix("-quickgelu") for identity in (own, other)}
        by_content = [_SHA256.fullmatch(identity["weights"]) is not None for identity in (own, other)]
        same = own["weights"] in (RANDOM, other["weights"]) or by_content[0] != by_content[1]
        return len(names) == 1 and same


def file_sha256(path: str) -> str:
    """Give the sha256 of a local file in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
