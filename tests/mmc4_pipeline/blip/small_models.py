"""Small BLIP models with random weights, their tokenizers included: the folders look like those of the Hub."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipConfig,
    BlipForImageTextRetrieval,
    BlipImageProcessor,
    BlipProcessor,
    PreTrainedTokenizerFast,
)

WORDS = "a the cat dog bird house tree on in under near mat river sat ran red blue small large and".split()  # noqa: SIM905
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
SIDE = 32
_VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}


def tokenizer() -> Any:
    """Return a tokenizer of whole words."""
    vocabulary = {word: number for number, word in enumerate((*_SPECIAL, *WORDS))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    words.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        bos_token="[CLS]",
        eos_token="[SEP]",
    )


def save_itm(folder: Path) -> None:
    """Write a small BlipForImageTextRetrieval and its processor."""
    torch.manual_seed(7)
    text = {
        "vocab_size": 32,
        "hidden_size": 16,
        "encoder_hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "projection_dim": 16,
        "pad_token_id": 0,
        "initializer_range": 1.0,
    }
    vision = {**_VISION, "projection_dim": 16, "initializer_range": 0.5}
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=16, image_text_hidden_size=8)
    model = BlipForImageTextRetrieval(config)
    with torch.no_grad():  # transformers' own initialisation is so close to 0 that all scores are nearly equal
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights) * 0.3)
    model.save_pretrained(folder)
    processor(BlipProcessor).save_pretrained(folder)


def save_blip2(folder: Path) -> None:
    """Write a small Blip2ForConditionalGeneration with OPT and its processor."""
    torch.manual_seed(9)
    former = {
        "vocab_size": 32,
        "hidden_size": 16,
        "encoder_hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    opt = {
        "model_type": "opt",
        "vocab_size": 32,
        "hidden_size": 16,
        "word_embed_proj_dim": 16,
        "ffn_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    made = processor(Blip2Processor, num_query_tokens=4)
    config = Blip2Config(
        vision_config=_VISION,
        qformer_config=former,
        text_config=opt,
        num_query_tokens=4,
        image_token_index=made.tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = Blip2ForConditionalGeneration(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(torch.randn_like(weights) * 1.5)
    model.save_pretrained(folder)
    made.save_pretrained(folder)


def processor(kind: type, **settings: Any) -> Any:
    """Return a processor for images of SIDE pixels."""
    images = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    return kind(images, tokenizer(), **settings)
