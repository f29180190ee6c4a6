"""The published weights that recipes and scorers need: where they are, their licence, and the sha256 that is stated."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A published file of weights; `sha256` is that of its content, in hex, None if its publisher does not state it."""

    name: str
    what: str
    url: str
    sha256: str | None
    licence: str


# Files of weights as transformers looks for them: the first kind that a model has. Both are read without pickle.
TRANSFORMERS_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the Hugging Face Hub, which states the sha256 of each file of weights; `name` is its repository's.

    `weights` are the names of files that may hold its weights; the first that exists is used. `small` are those of its
    configuration, tokenizer and image processor. The defaults are what transformers loads.
    """

    name: str
    what: str
    licence: str
    weights: tuple[str, ...] = TRANSFORMERS_WEIGHTS
    small: tuple[str, ...] = ("*.json", "*.txt")

    @property
    def url(self) -> str:
        """Return the page with the model's files."""
        return f"https://huggingface.co/{self.name}/tree/main"


Weights = PublishedFile | HubModel


# The sha256 is in the URL, from which OpenAI's own loader reads it.
CLIP = PublishedFile(
    name="ViT-L-14.pt",
    what="OpenAI's CLIP ViT-L/14",
    url="https://openaipublic.azureedge.net/clip/models/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
    sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    licence="MIT, of github.com/openai/CLIP",
)
CLIP_IDENTITY = {"model": "ViT-L-14", "weights": "openai"}  # open_clip's names, as in ClipChoice.identity

SMALL_CLIP = PublishedFile(
    name="ViT-B-32.pt",
    what="OpenAI's CLIP ViT-B/32",
    url="https://openaipublic.azureedge.net/clip/models/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
    sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    licence="MIT, of github.com/openai/CLIP",
)
SMALL_CLIP_IDENTITY = {"model": "ViT-B-32-quickgelu", "weights": "openai"}

# These are the names that open_clip looks for; it has the configuration and the tokenizer itself.
DATACOMP_CLIP = HubModel(
    name="laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
    what="CLIP ViT-B/32 trained on DataComp-XL",
    licence="MIT, of the model's card",
    weights=("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    small=(),
)
DATACOMP_CLIP_IDENTITY = {"model": "ViT-B-32", "weights": "datacomp_xl_s13b_b90k"}

# The sha256 is stated in dataset2metadata's own downloader (dataset2metadata/utils.py).
NSFW = PublishedFile(
    name="nsfw_torch.pt",
    what="LAION's NSFW head for OpenAI's CLIP ViT-L/14",
    url="https://github.com/mlfoundations/dataset2metadata/releases/download/v0.1.0-alpha/nsfw_torch.pt",
    sha256="3c97d5478477c181bfa29a33e6933f710c8ec587e3c3551ff855e293acdaf390",
    licence="MIT, of github.com/LAION-AI/CLIP-based-NSFW-Detector",
)

# The sha256 is stated in the Git LFS pointer in opencv_zoo.
FACE_DETECTOR = PublishedFile(
    name="face_detection_yunet_2023mar.onnx",
    what="OpenCV's face detector YuNet, for face boxes and for training a face head",
    url="https://media.githubusercontent.com/media/opencv/opencv_zoo/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    licence="MIT, of opencv_zoo/models/face_detection_yunet",
)

# The repository states no sha256.
AESTHETIC = PublishedFile(
    name="sa_0_4_vit_l_14_linear.pth",
    what="LAION's aesthetic predictor for OpenAI's CLIP ViT-L/14",
    url="https://github.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear.pth",
    sha256=None,
    licence="MIT, of github.com/LAION-AI/aesthetic-predictor",
)

BLIP_ITM = HubModel(
    name="Salesforce/blip-itm-base-flickr",
    what="BLIP's image-text matching (ViT-B, Flickr30k)",
    licence="BSD-3-Clause, of the model's card",
)

BLIP2 = HubModel(
    name="Salesforce/blip2-opt-2.7b",
    what="BLIP-2 with OPT-2.7b, for captions",
    licence="MIT, of the model's card; that of its language model is Meta's OPT licence",
)


def published_files() -> tuple[PublishedFile, ...]:
    """Return the published files whose sha256 is known."""
    return CLIP, SMALL_CLIP, NSFW, FACE_DETECTOR


def openai_clips() -> tuple[tuple[PublishedFile, dict[str, str]], ...]:
    """Return the files of OpenAI's CLIP models, each with the identity of its model."""
    return (CLIP, CLIP_IDENTITY), (SMALL_CLIP, SMALL_CLIP_IDENTITY)


def published_clips() -> tuple[tuple[Weights, dict[str, str]], ...]:
    """Return all published CLIP models, each with its identity."""
    return *openai_clips(), (DATACOMP_CLIP, DATACOMP_CLIP_IDENTITY)
