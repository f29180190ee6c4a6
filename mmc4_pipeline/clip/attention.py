"""Use PyTorch's fused attention kernels (flash attention on CUDA) in the blocks that open_clip builds itself."""

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import nn
from torch.nn import functional


def fuse_attention(model: nn.Module) -> None:
    """Make a model's blocks compute self-attention by scaled_dot_product_attention; only the rounding differs.

    The blocks use nn.MultiheadAttention, which for inference without a mask calls an older kernel, opaque to
    torch.compile.
    """
    for block in model.modules():
        if type(block) is not ResidualAttentionBlock or hasattr(block, "ln_1_kv"):
            continue
        attention = block.attn
        if isinstance(attention, nn.MultiheadAttention) and attention.batch_first:
            block.attn = _FusedSelfAttention(attention)


class _FusedSelfAttention(nn.Module):
    """Replaces an nn.MultiheadAttention, with its weights, for self-attention in inference."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = attention.num_heads
        self.in_proj_weight, self.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj = attention.out_proj

    def forward(
        self,
        x: torch.Tensor,
        _keys: torch.Tensor,
        _values: torch.Tensor,
        *,
        need_weights: bool,
        attn_mask: torch.Tensor | None,
    ) -> tuple[torch.Tensor, None]:
        """Return the attention's output for x of shape (batch, length, width), in the form of nn.MultiheadAttention."""
        batch, length, width = x.shape
        projected = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = projected.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, length, width)), None
