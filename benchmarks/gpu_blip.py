"""BLIP's part of `gpu.py`: pairs per second of BLIP's image-text matching, captions per second of BLIP-2.

The models have the published models' sizes and random weights; on a CPU they are tiny. Tokenizers know the words of the
generated sentences. No caption ends early: each has all its tokens.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
import transformers
from made_shard import SENTENCES_IN_DOCUMENT, WORDS, Shard
from tokenizers import Tokenizer, models, pre_tokenizers

from mmc4_pipeline import storage
from mmc4_pipeline.blip.captions import CaptionModel
from mmc4_pipeline.blip.device import Device
from mmc4_pipeline.blip.itm import ItmModel
from mmc4_pipeline.scorers.blip2 import Blip2
from mmc4_pipeline.scorers.blip_itm import BlipItm
from mmc4_pipeline.scoring.base import Machine
from mmc4_pipeline.scoring.picture import Picture
from mmc4_pipeline.scoring.shard import Place
from mmc4_pipeline.tar import read_image

ON_CUDA, ON_CPU = (2560, 640), (4, 2)  # images to match and to describe
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {"initializer_range": 0.02}  # with transformers' own, fp16 has only zeros, which a GPU multiplies faster
TINY_VISION = {**TINY, **VISION, "image_size": 32, "patch_size": 16}
OPT_2_7B = {"hidden_size": 2560, "word_embed_proj_dim": 2560, "ffn_dim": 10240, "num_hidden_layers": 32}


def matches(shard: Shard, device: str, repeats: int, until: float) -> dict[str, object]:
    """Return the rates of matching each image with k sentences, from JPEG bytes."""
    found = Device(Machine(device))
    model = ItmModel(_itm(found), _processor(transformers.BlipProcessor, 384 if found.on_cuda else 32), found)
    pictures = _pictures(shard, (ON_CUDA if found.on_cuda else ON_CPU)[0])
    texts = [shard.texts_of(number % (shard.sentences // SENTENCES_IN_DOCUMENT)) for number in range(len(pictures))]
    k = BlipItm().k
    wanted = {place: sentences[:k] for (place, _), sentences in zip(pictures, texts, strict=True)}
    rate = _rate(lambda: sum(len(pairs) for pairs in model.matches(pictures, wanted).values()), repeats, until)
    return {"itm_pairs_per_s": rate, "itm_images_per_s": round(rate / k, 2)}


def captions(shard: Shard, device: str, repeats: int, until: float) -> dict[str, object]:
    """Return the rate of writing captions, from JPEG bytes."""
    found, tokens = Device(Machine(device)), Blip2().max_new_tokens
    side, queries = (224, 32) if found.on_cuda else (32, 4)
    processor = _processor(transformers.Blip2Processor, side, num_query_tokens=queries)
    model = CaptionModel(_blip2(found, processor, queries), processor, found, tokens)
    pictures = _pictures(shard, (ON_CUDA if found.on_cuda else ON_CPU)[1])

    def describe() -> int:
        done = 0
        for group in found.prepared(processor.image_processor, pictures):
            done += len(model.captions(torch.stack([item.pixels for item in group if item.pixels is not None])))
        return done

    return {"blip2_captions_per_s": _rate(describe, repeats, until), "blip2_tokens_in_caption": tokens}


def _rate(work: Callable[[], int], repeats: int, until: float) -> float:
    """Return the median of items per second. A round before them loads and tunes."""
    work()
    rates: list[float] = []
    while not rates or (len(rates) < repeats and time.monotonic() < until):
        started = time.perf_counter()
        done = work()
        rates.append(done / (time.perf_counter() - started))
    return round(statistics.median(rates), 2)


def _pictures(shard: Shard, number: int) -> list[tuple[Place, Picture]]:
    def read() -> Iterator[tuple[Place, Picture]]:
        with storage.open_read(shard.tar) as tar:
            for place in shard.places:
                yield Place(*place), Picture(read_image(tar, *place))

    return list(islice(read(), number))


def _itm(device: Device) -> Any:
    if device.on_cuda:
        text, vision = {"num_attention_heads": 12}, {**VISION, "image_size": 384}
        config = transformers.BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=256)
    else:
        text = {**TINY, "encoder_hidden_size": 32, "max_position_embeddings": 64}
        config = transformers.BlipConfig(text_config=text, vision_config=TINY_VISION, image_text_hidden_size=8)
    return _random(device, lambda: transformers.BlipForImageTextRetrieval(config))


def _blip2(device: Device, processor: Any, queries: int) -> Any:
    image_token = processor.tokenizer.convert_tokens_to_ids("<image>")
    special: dict[str, Any] = {"model_type": "opt", "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
    if device.on_cuda:
        text = {**special, **OPT_2_7B, "num_attention_heads": 32, "vocab_size": 50304}
        parts: dict[str, Any] = {"vision_config": VISION, "qformer_config": {}, "text_config": text}
    else:
        text = {**special, **TINY, "word_embed_proj_dim": 32, "ffn_dim": 64, "vocab_size": 64}
        former = {**TINY, "encoder_hidden_size": 32}
        parts = {"vision_config": TINY_VISION, "qformer_config": former, "text_config": text}
    config = transformers.Blip2Config(**parts, num_query_tokens=queries, image_token_index=image_token)
    made = _random(device, lambda: transformers.Blip2ForConditionalGeneration(config))
    made.language_model.generation_config.eos_token_id = None
    made.qformer.float()  # as in a model that transformers has loaded
    made.query_tokens.data = made.query_tokens.data.float()
    return made


def _random(device: Device, make: Callable[[], Any]) -> Any:
    """Return a model whose weights are made on its device, in its number format."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(device.dtype)
    try:
        with device.device:
            return make()
    finally:
        torch.set_default_dtype(usual)


def _processor(kind: Any, side: int, **settings: Any) -> Any:
    words = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", *WORDS]
    marks: dict[str, Any] = {"unk_token": words[3]}
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, **marks))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast: Any = transformers.PreTrainedTokenizerFast
    wrapped = fast(tokenizer_object=tokenizer, pad_token=words[1], **marks)
    return kind(transformers.BlipImageProcessor(size={"height": side, "width": side}), wrapped, **settings)
