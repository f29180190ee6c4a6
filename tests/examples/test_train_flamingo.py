"""The code of the training example runs, with stand-ins for the model's tokenizer and image processor."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.mmc4_pipeline.planted_dataset import write_dataset

EXAMPLE = Path(__file__).parents[2] / "examples" / "train_flamingo.md"


class Words:
    """A tokenizer with one token per word."""

    pad_token_id = 0
    eos_token = "</s>"

    def __call__(self, text: str) -> dict[str, list[int]]:
        """Return the ids of the words."""
        return {"input_ids": [1 + len(word) for word in text.replace("<", " <").replace(">", "> ").split()]}


def image_processor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image.resize((8, 8)))).permute(2, 0, 1).float() + 1


def test_the_loop_gets_batches_of_the_model_s_shapes(tmp_path: Path) -> None:
    code = EXAMPLE.read_text().split("```python\n")[1].split("```")[0]
    for written, small in (
        ("out/dataset/mmc4", write_dataset(tmp_path / "mmc4").path),
        ("batch_size=32, num_workers=4", "batch_size=4, num_workers=0"),
        ("range(10)", "range(2)"),
    ):
        assert written in code
        code = code.replace(written, small)
    steps: list[tuple[torch.Tensor, ...]] = []
    names: dict[str, Any] = {
        "tokenizer": Words(),
        "image_processor": image_processor,
        "train_step": lambda *batch: steps.append(batch),
    }
    exec(code, names)
    assert len(steps) == 2 * 3
    for vision_x, lang_x, attention_mask in steps:
        assert vision_x.shape == (4, 6, 1, 3, 8, 8)
        assert lang_x.shape == attention_mask.shape == (4, 256)
        assert torch.equal(attention_mask.bool(), lang_x > 0)
        assert all((images.flatten(1).amax(dim=1) > 0).sum() == 3 for images in vision_x)
