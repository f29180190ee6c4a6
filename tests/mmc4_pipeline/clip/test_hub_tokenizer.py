"""Models whose tokenizer is on the Hugging Face Hub, such as SigLIP: open_clip's features, errors with a remedy."""

import json
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mmc4_pipeline.clip.model import ClipModel
from mmc4_pipeline.clip.weights import require_weights
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.models.clip_choice import ClipChoice

WORDS = ("a", "cat", "dog", "on", "the", "mat", "sat")
SENTENCES = ["The cat sat on the mat.", "a dog", "", "the the the the the the the the the the the the"]


def config(folder: Path, name: str, tokenizer: str) -> ClipChoice:
    """Write the config of a small model that is built like SigLIP: bidirectional text, read at the last token."""
    text = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1, "no_causal_mask": True}
    siglip = {"hf_tokenizer_name": tokenizer, "tokenizer_kwargs": {"clean": "canonicalize"}, "proj_bias": True}
    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
    model = {"embed_dim": 16, "init_logit_bias": -10, "custom_text": True, "vision_cfg": vision}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**model, "text_cfg": {**text, **siglip, "pool_type": "last"}}))
    return ClipChoice(str(path), "random")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> ClipChoice:
    folder = tmp_path_factory.mktemp("tokenizer")
    vocabulary = {word: number for number, word in enumerate(("[PAD]", "[UNK]", *WORDS))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    wrapped.save_pretrained(folder / "own")
    return config(folder, "small-siglip", str(folder / "own"))


def test_features_are_those_of_open_clip(local: ClipChoice) -> None:
    require_weights(local)
    model = ClipModel(local, "cpu", "fp32")
    torch.manual_seed(0)
    plain = open_clip.create_model("small-siglip").eval()
    with torch.inference_mode():
        expected = plain.encode_text(open_clip.get_tokenizer("small-siglip")(SENTENCES), normalize=True).numpy()
    assert np.abs(model.text_features(SENTENCES) - expected).max() < 1e-5
    assert model.text_features([]).shape == (0, 16)


def test_without_transformers_the_error_says_what_to_install(
    local: ClipChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr("mmc4_pipeline.clip.tokens.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"small-siglip.*transformers: pip install 'mmc4-pipeline\[hf\]'"):
        require_weights(local)


def test_a_tokenizer_that_is_not_there_is_named_with_the_folder_to_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    missing = config(tmp_path, "without-tokenizer", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"without-tokenizer.*nowhere.*HF_HOME") as refused:
        require_weights(missing)
    assert "\n" not in str(refused.value)
