"""Makes words in a page's text harmless that trainers and tokenizers take for places of media or for special tokens.

A page that writes "<image>" would otherwise add a mark without an image: OpenFlamingo joins texts and marks and looks
for the marks afterwards, conversations have marks within their texts, and the tokenizers of Qwen's and Llama's models
take "<|image_pad|>" in a text for the token.
"""

import re

_MEDIA = "image|video|audio|img|im_start|im_end|im_patch|start-image|bbox|ref-object|cot-process"
MARKS = re.compile(rf"<(?:{_MEDIA})>|<\|[^<>|\s]{{1,64}}\|>")


def inert(text: str) -> str:
    """Return a text with a space after the first character of each mark: "< image>". No other text is changed."""
    return MARKS.sub(lambda mark: f"< {mark[0][1:]}", text) if "<" in text else text
