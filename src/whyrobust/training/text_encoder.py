"""The features of captions from open_clip's text tower, without the work that does not reach them.

Stands alone because it is the one place where this program computes what open_clip has code for: padding is never
computed, and of the last block only the end-of-text token, the one that the features are read at. For a tower of one
block and names of icons that is a seventh of the arithmetic. Towers of another build go through open_clip's own code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def encode_tokens(tower: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401 - open_clip is untyped
    """Return text features ``[n, embed_dim]`` of padded tokens ``[n, context]``.

    Equal, but for rounding, to ``tower(tokens)``: attention is causal, and the features are read at the end-of-text
    token, which has the highest number of all tokens (padding cannot be told by its number: 0 is an exclamation mark).
    """
    if not is_plain(tower):
        features: Tensor = tower(tokens)
        return features
    ends = tokens.argmax(dim=1)
    return _encode_packed(tower, tokens[:, : int(ends.max()) + 1], ends)


def is_plain(tower: Any) -> bool:  # noqa: ANN401 - open_clip is untyped
    """Whether a tower is built as CLIP's: causal, blocks with the norm first, features at the end-of-text token."""
    from open_clip.transformer import ResidualAttentionBlock, TextTransformer

    return (
        type(tower) is TextTransformer
        and tower.cls_emb is None
        and tower.pool_type == "argmax"
        and tower.attn_mask is not None
        and not tower.output_tokens
        and not tower.transformer.grad_checkpointing
        and isinstance(tower.text_projection, nn.Parameter)
        and all(
            type(block) is ResidualAttentionBlock
            and not hasattr(block, "ln_1_kv")
            and type(block.attn) is nn.MultiheadAttention
            and block.attn.in_proj_weight is not None
            and block.attn.in_proj_bias is not None
            and not block.attn.dropout
            for block in tower.transformer.resblocks
        )
    )


def _encode_packed(tower: Any, tokens: Tensor, ends: Tensor) -> Tensor:  # noqa: ANN401
    """Compute on the tokens of all captions in one row, ``[total, width]``; only attention sees them by caption."""
    count, longest = tokens.shape
    places = torch.arange(longest, device=tokens.device)
    real = places <= ends[:, None]
    # Where each token of the row stands in the padded captions, laid out as [count * longest].
    slots = real.flatten().nonzero().squeeze(1)
    stream = tower.token_embedding(tokens.flatten()[slots]) + tower.positional_embedding[slots % longest]
    last = (ends + 1).cumsum(0) - 1
    blocks = list(tower.transformer.resblocks)
    for block in blocks[:-1]:
        stream = _block(block, stream, slots, count, longest)
    pooled = _last_block(blocks[-1], stream, slots, last, real)
    features: Tensor = tower.ln_final(pooled) @ tower.text_projection
    return features


def _padded(rows: Tensor, slots: Tensor, count: int, longest: int) -> Tensor:
    """Return rows ``[total, width]`` by caption, ``[count, longest, width]``, zero where there is no token."""
    empty = rows.new_zeros(count * longest, rows.shape[1])
    return empty.index_copy(0, slots, rows).view(count, longest, -1)


def _heads(rows: Tensor, heads: int) -> Tensor:
    """Return ``[count, heads, length, width / heads]`` of ``[count, length, width]``."""
    return rows.view(*rows.shape[:-1], heads, -1).transpose(1, 2)


def _block(block: Any, stream: Tensor, slots: Tensor, count: int, longest: int) -> Tensor:  # noqa: ANN401
    attention = block.attn
    mixed = nn.functional.linear(block.ln_1(stream), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (
        _heads(part, attention.num_heads) for part in _padded(mixed, slots, count, longest).chunk(3, dim=-1)
    )
    seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    rows = seen.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, slots)
    stream = stream + block.ls_1(attention.out_proj(rows))
    result: Tensor = stream + block.ls_2(block.mlp(block.ln_2(stream)))
    return result


def _last_block(block: Any, stream: Tensor, slots: Tensor, last: Tensor, real: Tensor) -> Tensor:  # noqa: ANN401
    """Return the block's output at the rows ``last``, the end-of-text tokens, ``[count, width]``."""
    attention = block.attn
    count, longest = real.shape
    width = stream.shape[1]
    normed = block.ln_1(stream)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    mixed = nn.functional.linear(normed, weight[width:], bias[width:])
    key, value = (_heads(part, attention.num_heads) for part in _padded(mixed, slots, count, longest).chunk(2, dim=-1))
    query = nn.functional.linear(normed.index_select(0, last), weight[:width], bias[:width])
    seen = nn.functional.scaled_dot_product_attention(
        _heads(query[:, None], attention.num_heads), key, value, attn_mask=real[:, None, None]
    )
    pooled = stream.index_select(0, last) + block.ls_1(attention.out_proj(seen.flatten(1)))
    result: Tensor = pooled + block.ls_2(block.mlp(block.ln_2(pooled)))
    return result
