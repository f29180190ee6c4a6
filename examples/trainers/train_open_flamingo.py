r"""Train OpenFlamingo on a dataset's shards, with the loader and the model of its own package.

    python train_open_flamingo.py 'out/dataset/mmc4/shard-{00000..00177}.tar' --documents 101000 \
        --language_model anas-awadalla/mpt-1b-redpajama-200b --clip ViT-L-14 --clip_weights openai

Packages: open-flamingo==2.0.1, transformers<5, webdataset<1. Its own script trains on image-text pairs of LAION at the
same time; this one takes the interleaved documents alone.
"""

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace

import open_flamingo
import torch

sys.path.append(str(Path(open_flamingo.__file__).parent / "train"))  # its modules import each other by bare names
from data import get_data


def main() -> None:
    """Train for some steps and print the loss of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", help="brace pattern of the shards")
    parser.add_argument("--documents", type=int, required=True, help="number of documents in all shards")
    parser.add_argument("--language_model", required=True, help="name on the Hugging Face Hub, or a folder")
    parser.add_argument("--clip", default="ViT-L-14")
    parser.add_argument("--clip_weights", default="openai")
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--min_similarity", type=float, default=0.24)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()

    torch.manual_seed(0)
    model, image_processor, tokenizer = open_flamingo.create_model_and_transforms(
        options.clip, options.clip_weights, options.language_model, options.language_model
    )
    arguments = SimpleNamespace(
        mmc4_shards=options.shards,
        train_num_samples_mmc4=options.documents,
        batch_size_mmc4=options.batch_size,
        mmc4_textsim_threshold=options.min_similarity,
        mmc4_min_num_images=1,
        mmc4_max_num_images=6,
        dataset_resampled=True,
        workers=options.workers,
        world_size=1,
        seed=42,
    )
    data = get_data(arguments, image_processor, tokenizer, "mmc4")
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)
    step = 0
    while step < options.steps:
        data.set_epoch(step)
        for images, texts in data.dataloader:
            tokens = torch.cat([text[0] for text in texts])
            attended = torch.cat([text[1] for text in texts])
            labels = tokens.masked_fill(attended == 0, -100)
            labels = labels.masked_fill(labels == model.media_token_id, -100)
            loss = model(images.unsqueeze(2), tokens, attended, labels=labels)[0]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
            step += 1
            if step == options.steps:
                break


if __name__ == "__main__":
    main()
