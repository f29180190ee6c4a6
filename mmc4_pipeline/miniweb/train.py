"""Train the small CLIP of the miniature web and its two heads, and save them in `weights/`.

    python -m mmc4_pipeline.miniweb.train

This takes about twelve minutes on two idle cores. The pictures and sentences come from `drawing` and `text`, with seeds
that no page uses. The loss adds a sigmoid loss (like SigLIP's) to CLIP's softmax: it trains all matching pairs towards
similarities above one fixed value, so that a similarity threshold is meaningful for such a small model.
"""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import open_clip
import torch
from PIL import Image as Pillow
from torch import Tensor, nn
from torch.nn import functional

from mmc4_pipeline.clip.heads import FaceHead, NsfwHead
from mmc4_pipeline.miniweb import drawing, text
from mmc4_pipeline.miniweb.drawing import COLOURS, FACE_COLOURS, PAINTERS, SHAPES, TEXTURES, Scene
from mmc4_pipeline.miniweb.models import CLIP_NAME, WEIGHTS

_log = logging.getLogger(__name__)

SEED = 2019
FIRST_SEED = 1_000_000_000  # the generated pages use smaller seeds
PICTURES = 26_000
STEPS = 850
BATCH = 256
FILLERS = 64  # filler sentences in each batch, which do not describe any picture
MARGIN = 0.3  # the similarity that separates matching pairs from others in training
EDGE = 64
CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 16, "image_size": EDGE, "head_width": 32, "patch_size": None},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 40, "heads": 4, "layers": 2},
}

_SCENES = [(c, s, t) for c in COLOURS for s in SHAPES for t in TEXTURES]
_FACES = [(c, "face", "plain") for c in FACE_COLOURS]
SUBJECTS = _SCENES + _FACES
# A label is the number of a subject (a face from FACE on), or one of the negative numbers.
FACE = len(_SCENES)
HAZARD, OTHER, FILLER = -1, -2, -3

_MEAN = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1) * 255
_STD = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1) * 255


@dataclass(frozen=True)
class Pictures:
    """Pictures of the model's size before normalisation: `pixels` (n, 3, EDGE, EDGE) uint8, `labels` (n,) int64."""

    pixels: Tensor
    labels: Tensor


def _crop(picture: drawing.Image, rng: np.random.Generator) -> drawing.Image:
    """Scale the shorter side to EDGE and crop the centre, with Pillow, as open_clip does, or with OpenCV."""
    height, width = picture.shape[:2]
    scale = EDGE / min(width, height)
    size = max(EDGE, round(width * scale)), max(EDGE, round(height * scale))
    if rng.random() < 0.5:
        small = np.asarray(Pillow.fromarray(picture).resize(size, Pillow.Resampling.BICUBIC))
    else:
        small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    left, top = (size[0] - EDGE) // 2, (size[1] - EDGE) // 2
    return small[top : top + EDGE, left : left + EDGE]


def _picture(seed: int) -> tuple[drawing.Image, int]:
    """Return one training picture (EDGE, EDGE, 3), compressed and resized like those of the web, and its label."""
    rng = np.random.default_rng([7, seed])
    side, ratio = rng.uniform(150, 320), rng.uniform(0.5, 2.0)
    width, height = (int(side), int(side / ratio)) if ratio < 1 else (int(side * ratio), int(side))
    kind = rng.choice(["scene", "face", "hazard", "off_topic", "ad", "icon"], p=[0.66, 0.08, 0.09, 0.14, 0.015, 0.015])
    subjects = {"scene": int(rng.integers(FACE)), "face": int(rng.integers(FACE, len(SUBJECTS)))}
    if kind in subjects:
        label = subjects[kind]
        picture = drawing.draw(Scene(*SUBJECTS[label], seed), width, height)
    else:
        label = HAZARD if kind == "hazard" else OTHER
        picture = PAINTERS[kind](seed, width, height)
    if rng.random() < 0.7:
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(55, 96))])
        picture = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    if label >= 0 and SUBJECTS[label][0] in ("black", "white") and rng.random() < 0.2:  # some pages have these in grey
        picture = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8)
    return _crop(picture, rng), label


def _chunk(seeds: range) -> list[tuple[drawing.Image, int]]:
    cv2.setNumThreads(1)
    return [_picture(seed) for seed in seeds]


def make_pictures(first_seed: int, count: int) -> Pictures:
    """Draw `count` pictures of all kinds on all cores. The result depends only on the seeds."""
    end = first_seed + count
    chunks = [range(start, min(start + 500, end)) for start in range(first_seed, end, 500)]
    with ProcessPoolExecutor() as pool:
        made = [one for chunk in pool.map(_chunk, chunks) for one in chunk]
    pixels = torch.from_numpy(np.stack([picture for picture, _ in made]).transpose(0, 3, 1, 2).copy())
    return Pictures(pixels, torch.tensor([label for _, label in made]))


def normalise(pixels: Tensor) -> Tensor:
    """Return the image tower's input for pixels (n, 3, h, w) uint8."""
    return (pixels.float() - _MEAN) / _STD


def _augmented(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Shift a batch by up to 3 pixels, mirror it half the time, and vary each picture's brightness and contrast."""
    dx, dy = (int(value) for value in rng.integers(0, 7, 2))
    padded = functional.pad(pixels.float(), (3, 3, 3, 3), mode="replicate")[..., dy : dy + EDGE, dx : dx + EDGE]
    if rng.random() < 0.5:
        padded = padded.flip(3)
    gain = torch.from_numpy(rng.uniform(0.88, 1.12, (len(pixels), 1, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(rng.uniform(-12, 12, (len(pixels), 1, 1, 1)).astype(np.float32))
    return ((padded * gain + shift).clamp(0, 255) - _MEAN) / _STD


def _sentences(labels: Tensor, rng: np.random.Generator) -> tuple[list[str], Tensor]:
    """Return a sentence for each described picture, followed by the fillers, and the sentences' labels."""
    described: list[int] = [label for label in labels.tolist() if label >= 0]
    sentences = [text.describe(Scene(*SUBJECTS[label], 0), rng) for label in described]
    sentences += [text.filler(rng) for _ in range(FILLERS)]
    return sentences, torch.tensor(described + [FILLER] * FILLERS)


def clip_loss(similarity: Tensor, match: Tensor, scale: Tensor) -> Tensor:
    """Return the sum of the sigmoid loss over all pairs and CLIP's softmax loss over the described pictures.

    `similarity` and `match` (bool) have shape (pictures, sentences); several sentences may match one picture.
    """
    logits = scale * (similarity - MARGIN)
    sigmoid = functional.softplus(torch.where(match, -logits, logits)).sum() / len(similarity)
    described = match.any(dim=1)
    logits, match = logits[described], match[described]
    inside = torch.logsumexp(logits.masked_fill(~match, -torch.inf), dim=1)
    return sigmoid + (torch.logsumexp(logits, dim=1) - inside).mean()


def train_clip(pictures: Pictures, steps: int = STEPS) -> tuple[open_clip.CLIP, set[int]]:
    """Train on random batches. Return the model, and the ids of the tokens that occurred in training."""
    rng = np.random.default_rng(SEED)
    model = open_clip.CLIP(**CONFIG)
    # Channels-last memory is nearly twice as fast for so few channels.
    model.visual.to(memory_format=torch.channels_last)
    model.train()
    tokenise = open_clip.SimpleTokenizer(context_length=32)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.15)
    seen: set[int] = {0}
    started = time.monotonic()
    for step in range(steps):
        chosen = torch.from_numpy(rng.integers(0, len(pictures.labels), BATCH))
        labels = pictures.labels[chosen]
        sentences, sentence_labels = _sentences(labels, rng)
        tokens = tokenise(sentences)
        seen.update(tokens.unique().tolist())
        pixels = _augmented(pictures.pixels[chosen], rng).contiguous(memory_format=torch.channels_last)
        images = model.encode_image(pixels, normalize=True)
        texts = model.encode_text(tokens, normalize=True)
        loss = clip_loss(images @ texts.T, labels[:, None] == sentence_labels[None], model.logit_scale.exp())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        model.logit_scale.data.clamp_(2.0, 3.7)
        if step % 50 == 0 or step == steps - 1:
            _log.info("step %d: loss %.3f, %.0f s", step, loss.item(), time.monotonic() - started)
    return model.eval(), seen


@torch.no_grad()
def image_features(model: open_clip.CLIP, pixels: Tensor) -> Tensor:
    """Return L2-normalised image features, (n, embed_dim)."""
    parts = (normalise(part).contiguous(memory_format=torch.channels_last) for part in torch.split(pixels, 500))
    return torch.cat([model.encode_image(part, normalize=True) for part in parts])


def train_head(head: nn.Module, features: Tensor, target: Tensor, rate: float) -> None:
    """Train a head in place on features (n, width) and targets (n,) of 0 and 1, with the learning rate `rate`."""
    rng = np.random.default_rng(SEED)
    optimiser = torch.optim.Adam(head.parameters(), lr=rate)
    for _ in range(1_500):
        chosen = torch.from_numpy(rng.integers(0, len(features), 512))
        loss = functional.binary_cross_entropy(head(features[chosen]), target[chosen].float())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


@torch.no_grad()
def shift_to_recall(head: FaceHead, features: Tensor, recall: float) -> None:
    """Shift the bias so that a share `recall` of the faces' features (n, width) has a probability of at least 0.5."""
    logits = head.linear(features)[:, 0]
    head.linear.bias.sub_(torch.quantile(logits, 1 - recall))


def save(model: open_clip.CLIP, seen: set[int], nsfw: NsfwHead, faces: FaceHead) -> None:
    """Write the four files: the CLIP in half precision, with zeros for tokens that did not occur in training."""
    WEIGHTS.mkdir(exist_ok=True)
    state = {name: value.detach().contiguous().clone() for name, value in model.state_dict().items()}
    unseen = torch.ones(len(state["token_embedding.weight"]), dtype=torch.bool)
    unseen[sorted(seen)] = False
    state["token_embedding.weight"][unseen] = 0
    state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    (WEIGHTS / f"{CLIP_NAME}.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    torch.save(state, WEIGHTS / "clip.pt")
    torch.save(nsfw.state_dict(), WEIGHTS / "nsfw.pt")
    torch.save(faces.state_dict(), WEIGHTS / "faces.pt")


def main() -> None:
    """Draw the pictures, train the models and save them."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(SEED)
    started = time.monotonic()
    pictures = make_pictures(FIRST_SEED, PICTURES)
    _log.info("%d pictures, %.0f s", PICTURES, time.monotonic() - started)
    model, seen = train_clip(pictures)
    features = image_features(model, pictures.pixels)
    labels = pictures.labels
    nsfw, faces = NsfwHead(features.shape[1]), FaceHead(features.shape[1])
    # Batch normalisation without an epsilon cannot be trained in batches, so its statistics are computed beforehand.
    nsfw.norm.running_mean, nsfw.norm.running_var = features.mean(dim=0), features.var(dim=0)
    train_head(nsfw.eval(), features, labels == HAZARD, rate=2e-3)
    held_out = torch.arange(len(labels)) % 5 == 0
    train_head(faces, features[~held_out], labels[~held_out] >= FACE, rate=0.1)
    shift_to_recall(faces, features[held_out & (labels >= FACE)], 0.95)
    save(model, seen, nsfw, faces)
    _log.info("done, %.0f s", time.monotonic() - started)


if __name__ == "__main__":
    main()
