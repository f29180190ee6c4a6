"""The published files that recipes need: their public homes, licences, and sha256 as their publishers say it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of weights at its public home; `sha256` is of its content, in hex."""

    name: str
    what: str
    url: str
    sha256: str
    licence: str


# The sha256 is in the URL, where OpenAI's own loader looks for it.
CLIP = PublishedFile(
    name="ViT-L-14.pt",
    what="OpenAI's CLIP ViT-L/14",
    url="https://openaipublic.azureedge.net/clip/models/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
    sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    licence="MIT, of github.com/openai/CLIP",
)
CLIP_IDENTITY = {"model": "ViT-L-14", "weights": "openai"}  # what open_clip calls it, and ClipChoice.identity

# The sha256 is that of dataset2metadata's own downloader (dataset2metadata/utils.py).
NSFW = PublishedFile(
    name="nsfw_torch.pt",
    what="LAION's NSFW head for OpenAI's CLIP ViT-L/14",
    url="https://github.com/mlfoundations/dataset2metadata/releases/download/v0.1.0-alpha/nsfw_torch.pt",
    sha256="3c97d5478477c181bfa29a33e6933f710c8ec587e3c3551ff855e293acdaf390",
    licence="MIT, of github.com/LAION-AI/CLIP-based-NSFW-Detector",
)

# The sha256 is that of the Git LFS pointer in opencv_zoo.
FACE_DETECTOR = PublishedFile(
    name="face_detection_yunet_2023mar.onnx",
    what="OpenCV's face detector YuNet, for boxes and for a face head to learn from",
    url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    licence="MIT, of opencv_zoo/models/face_detection_yunet",
)


def published_files() -> tuple[PublishedFile, ...]:
    """Give all of them."""
    return CLIP, NSFW, FACE_DETECTOR
