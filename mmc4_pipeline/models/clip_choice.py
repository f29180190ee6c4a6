"""Choose a CLIP: its model and weights, by name or by file."""

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
    """A choice of CLIP.

    `model` is the name of an open_clip model or the path of a config (.json). `pretrained` is a tag of weights, the
    path of a file, or "random".
    """

    model: str
    pretrained: str

    @property
    def model_name(self) -> str:
        """The name of the model in open_clip; for a config file it is the file's stem."""
        return Path(self.model).stem if self.model.endswith(".json") else self.model

    @property
    def name(self) -> str:
        """The name of this CLIP's folder of scores: "ViT-L-14_openai"."""
        weights = Path(self.pretrained).stem if self.is_file else self.pretrained
        return f"{self.model_name}_{weights}".replace("/", "-")

    @property
    def is_file(self) -> bool:
        """Whether the weights are a local file."""
        return Path(self.pretrained).is_file()

    def identity(self) -> dict[str, str]:
        """Return what scores depend on: the model, and the weights by tag or by sha256.

        OpenAI's own files are identified by their tag, because the weights are the same.
        """
        weights = file_sha256(self.pretrained) if self.is_file else self.pretrained
        tags = {file.sha256: identity["weights"] for file, identity in catalogue.openai_clips()}
        return {"model": self.model_name, "weights": tags.get(weights, weights)}

    def may_be(self, other: Mapping[str, str]) -> bool:
        """Return whether this may be the CLIP of another identity.

        It is not if the models, two tags or two sha256 differ. A tag cannot be compared with a sha256. Random weights
        match any others: they are for trying the pipeline.
        """
        own = self.identity()
        names = {identity["model"].removesuffix("-quickgelu") for identity in (own, other)}
        by_sha256 = [_SHA256.fullmatch(identity["weights"]) is not None for identity in (own, other)]
        same = own["weights"] in (RANDOM, other["weights"]) or by_sha256[0] != by_sha256[1]
        return len(names) == 1 and same


def file_sha256(path: str) -> str:
    """Return the sha256 of a local file in hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
