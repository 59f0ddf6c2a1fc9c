"""Captions to features: tokens, and open_clip's text tower without the work that does not reach the features.

Three savings, all exact but for rounding. `encode_text` computes no padding where tokens are in main memory, and the
last block only at the end-of-text token, where the features are read: for a tower of one block and short captions that
is a seventh of the arithmetic. `narrow_vocabulary` trains only the rows of the token embedding that occur in a run's
captions: a token that never occurs has no gradient, so AdamW only shrinks its row, by a factor known beforehand. Towers
of another build than CLIP's go through open_clip's own code.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from whyrobust.training.device import send
from whyrobust.training.light_imports import open_clip_file

#: Captions whose tokens are collected at a time: indices take 8 bytes per token beside the 4 of the tokens.
CAPTIONS_PER_CHUNK = 100_000

#: The vocabulary stays whole where more than this share of it occurs: nothing would be gained.
MAX_NARROWED_SHARE = 0.5


# --- Tokens -------------------------------------------------------------------------------------------------


def tokenize(captions: Sequence[str], context_length: int, chunk: int = 10_000) -> Tensor:
    """Return open_clip's byte-pair tokens, int32 ``[n, context_length]``; longer captions are truncated.

    4 bytes per token instead of open_clip's 8, and ``chunk`` captions at a time, since it builds Python lists: 8
    million captions of 77 tokens take 2.5 GB. Only the first 32 characters per token of a caption are read: byte-pair
    merging takes time quadratic in the length of a word, hours for a word of a million letters.
    """
    tokenizer: Any = _tokenizer()
    tokens = torch.empty((len(captions), context_length), dtype=torch.int32)
    for start in range(0, len(captions), chunk):
        part = [caption[: 32 * context_length] for caption in captions[start : start + chunk]]
        tokens[start : start + len(part)] = one_text(
            tokenizer(part, context_length), tokenizer.sot_token_id, tokenizer.eot_token_id
        )
    return tokens


def cut_captions(tokens: Tensor, length: int) -> Tensor:
    """Return tokens ``[n, context]`` of captions cut to ``length`` tokens as `tokenize` does, with zeros after them."""
    ends = tokens.argmax(dim=1)
    cut = tokens.clone()
    cut[:, length:] = 0
    # The end-of-text token has the highest number of all.
    cut[ends >= length, length - 1] = tokens.amax()
    return cut


def one_text(tokens: Tensor, start: int, end: int) -> Tensor:
    """Return tokens ``[n, context_length]`` with the marks of start and end only at the start and the end of each text.

    A text may say ``<end_of_text>`` itself, and the tower reads nothing after that token.

    Args:
        tokens: start, a text, end, then zeros, per row.
        start: the token before a text.
        end: the token after it.
    """
    several = ((tokens == start).sum(dim=1) > 1) | ((tokens == end).sum(dim=1) > 1)
    if not several.any():
        return tokens
    marked = tokens.clone()
    for row in several.nonzero().flatten().tolist():
        last = int((tokens[row] == end).nonzero().max())
        text = [token for token in tokens[row, 1:last].tolist() if token not in (start, end)]
        marked[row] = 0
        marked[row, : len(text) + 2] = torch.tensor([start, *text, end], dtype=tokens.dtype)
    return marked


@cache
def _tokenizer() -> Callable[[list[str], int], Tensor]:
    """Return the tokenizer that open_clip makes when it is loaded: another would take a tenth of a second more."""
    tokenizer: Callable[[list[str], int], Tensor] = open_clip_file("tokenizer")._tokenizer
    return tokenizer


# --- The tower ----------------------------------------------------------------------------------------------


class LayerNorm(nn.LayerNorm):
    """Layer norm whose result has the type of its input, under autocast too (as open_clip's)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens ``[..., width]``, normalised."""
        return super().forward(tokens).to(tokens.dtype)


class TextBlock(nn.Module):
    """The weights of a pre-norm transformer block; `encode_text` computes with them."""

    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.width, self.layers = width, layers
        self.ln_1 = LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ls_1 = nn.Identity()
        self.ln_2 = LayerNorm(width)
        self.mlp = nn.Sequential(OrderedDict(c_fc=nn.Linear(width, 4 * width), gelu=nn.GELU()))
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ls_2 = nn.Identity()

    def initialise(self) -> None:
        """Draw initial weights; those that lead back to the stream are the smaller, the more layers the tower has."""
        spread = self.width**-0.5
        for weight, deviation in (
            (self.attn.in_proj_weight, spread),
            (self.attn.out_proj.weight, spread * (2 * self.layers) ** -0.5),
            (self.mlp.get_submodule("c_fc").weight, (2 * self.width) ** -0.5),
            (self.mlp.get_submodule("c_proj").weight, spread * (2 * self.layers) ** -0.5),
        ):
            assert isinstance(weight, Tensor)
            nn.init.normal_(weight, std=deviation)


class TextTower(nn.Module):
    """CLIP's text tower (Radford et al. 2021, section 2.4) from torch alone.

    Names, shapes and initial values of its weights are those of open_clip's ``TextTransformer``, the random numbers
    drawn in the same order.
    """

    def __init__(
        self, embed_dim: int, context_length: int = 77, vocab_size: int = 49408, width: int = 512, heads: int = 8,
        layers: int = 12,
    ) -> None:  # fmt: skip
        super().__init__()
        self.context_length = context_length
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = nn.Parameter(torch.empty(context_length, width))
        blocks = [TextBlock(width, heads, layers) for _ in range(layers)]
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(blocks)})
        self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, embed_dim))
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for block in blocks:
            block.initialise()
        nn.init.normal_(self.text_projection, std=width**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return text features ``[n, embed_dim]`` of padded tokens ``[n, context]``."""
        return encode_text(self, tokens)


# --- The tower without padding ------------------------------------------------------------------------------


def encode_text(tower: Any, tokens: Tensor) -> Tensor:  # noqa: ANN401 - open_clip is untyped
    """Return text features ``[n, embed_dim]`` of padded tokens ``[n, context]``.

    Equal, but for rounding, to ``tower(tokens)``: attention is causal, and the features are read at the end-of-text
    token, which has the highest number of all tokens (padding has no number of its own: 0 is an exclamation mark).
    Where the tokens of a tower on a GPU are in main memory, what is padding is found there, and nothing waits. Tokens
    on a GPU are computed with their padding: to find it would mean waiting for the GPU.
    """
    if not is_clip_tower(tower):
        features: Tensor = tower(send(tokens, tower.positional_embedding.device))
        return features
    ends = tokens.argmax(dim=1)
    if tokens.device.type == "cpu":
        return _encode_packed(tower, tokens[:, : int(ends.max()) + 1], ends)
    return _encode_padded(tower, tokens, ends)


def is_clip_tower(tower: Any) -> bool:  # noqa: ANN401 - open_clip is untyped
    """Whether a tower is built as CLIP's: causal, pre-norm blocks, features at the end-of-text token."""
    if isinstance(tower, TextTower):
        return True
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
    """Compute on the tokens of all captions packed into one sequence ``[total, width]``; only attention unpacks them.

    Args:
        tower: a CLIP text tower.
        tokens: ``[n, longest]``.
        ends: position of each caption's end-of-text token ``[n]``.
    """
    count, longest = tokens.shape
    positions = torch.arange(longest, device=tokens.device)
    is_token = positions <= ends[:, None]
    # Index of each packed token in the padded captions, flattened to [count * longest].
    padded_index = is_token.flatten().nonzero().squeeze(1)
    packed_tokens, last = tokens.flatten()[padded_index], (ends + 1).cumsum(0) - 1
    device = tower.positional_embedding.device
    packed_tokens, padded_index, last, is_token = (
        send(values, device) for values in (packed_tokens, padded_index, last, is_token)
    )
    packed = tower.token_embedding(packed_tokens) + tower.positional_embedding[padded_index % longest]
    blocks = list(tower.transformer.resblocks)
    for block in blocks[:-1]:
        packed = _block(block, packed, padded_index, count, longest)
    pooled = _last_block(blocks[-1], packed, padded_index, last, is_token)
    features: Tensor = tower.ln_final(pooled) @ tower.text_projection
    return features


def _encode_padded(tower: Any, tokens: Tensor, ends: Tensor) -> Tensor:  # noqa: ANN401
    """Compute on all tokens of captions ``[n, longest]``, padding too; no shape depends on what the captions say.

    Positions are selected by products with zeros and ones, whose gradients are repeatable on a GPU.
    """
    count, longest = tokens.shape
    positions = torch.arange(longest, device=tokens.device)
    embedded = tower.token_embedding(tokens) + tower.positional_embedding[:longest]
    stream = embedded.flatten(0, 1)
    blocks = list(tower.transformer.resblocks)
    for block in blocks[:-1]:
        stream = _block(block, stream, None, count, longest)
    at_end = (positions == ends[:, None])[:, :, None].to(stream.dtype)
    pooled = _last_block(blocks[-1], stream, None, at_end, positions <= ends[:, None])
    features: Tensor = tower.ln_final(pooled) @ tower.text_projection
    return features


def _unpack(packed: Tensor, padded_index: Tensor | None, count: int, longest: int) -> Tensor:
    """Return packed tokens ``[total, width]`` per caption, ``[count, longest, width]``, with zeros as padding.

    Without an index they have their padding already.
    """
    if padded_index is None:
        return packed.view(count, longest, -1)
    empty = packed.new_zeros(count * longest, packed.shape[1])
    return empty.index_copy(0, padded_index, packed).view(count, longest, -1)


def _heads(tokens: Tensor, heads: int) -> Tensor:
    """Return ``[count, heads, length, width / heads]`` of ``[count, length, width]``."""
    return tokens.view(*tokens.shape[:-1], heads, -1).transpose(1, 2)


def _at_end(packed: Tensor, last: Tensor) -> Tensor:
    """Return the rows ``[count, width]`` of the end-of-text tokens: by their indices, or by ones at their places.

    Args:
        packed: ``[total, width]``.
        last: indices ``[count]``, or zeros and ones ``[count, longest, 1]``.
    """
    if last.ndim == 1:
        return packed.index_select(0, last)
    return (packed.view(*last.shape[:2], -1) * last).sum(dim=1)


def _block(block: Any, packed: Tensor, padded_index: Tensor | None, count: int, longest: int) -> Tensor:  # noqa: ANN401
    """Return the output of a transformer block at all packed tokens, ``[total, width]``."""
    attention = block.attn
    projected = nn.functional.linear(block.ln_1(packed), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (
        _heads(part, attention.num_heads) for part in _unpack(projected, padded_index, count, longest).chunk(3, dim=-1)
    )
    attended = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    attended = attended.transpose(1, 2).flatten(2).flatten(0, 1)
    if padded_index is not None:
        attended = attended.index_select(0, padded_index)
    packed = packed + block.ls_1(attention.out_proj(attended))
    result: Tensor = packed + block.ls_2(block.mlp(block.ln_2(packed)))
    return result


def _last_block(
    block: Any,  # noqa: ANN401
    packed: Tensor,
    padded_index: Tensor | None,
    last: Tensor,
    is_token: Tensor,
) -> Tensor:
    """Return the block's output at the end-of-text tokens, ``[count, width]``; `_at_end` says what ``last`` is."""
    attention = block.attn
    count, longest = is_token.shape
    width = packed.shape[1]
    normed = block.ln_1(packed)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    projected = nn.functional.linear(normed, weight[width:], bias[width:])
    key, value = (
        _heads(part, attention.num_heads) for part in _unpack(projected, padded_index, count, longest).chunk(2, dim=-1)
    )
    query = nn.functional.linear(_at_end(normed, last), weight[:width], bias[:width])
    attended = nn.functional.scaled_dot_product_attention(
        _heads(query[:, None], attention.num_heads), key, value, attn_mask=is_token[:, None, None]
    )
    pooled = _at_end(packed, last) + block.ls_1(attention.out_proj(attended.flatten(1)))
    result: Tensor = pooled + block.ls_2(block.mlp(block.ln_2(pooled)))
    return result


# --- The part of the vocabulary that occurs -----------------------------------------------------------------


def longest_caption(tokens: Tensor) -> int:
    """Return the most tokens, marks of start and end included, of a caption among ``[n, context]``."""
    return max(int((part != 0).any(dim=0).nonzero().max()) + 1 for part in torch.split(tokens, CAPTIONS_PER_CHUNK))


def used_tokens(tokens: Tensor, vocabulary: int) -> Tensor:
    """Return the tokens that occur in captions ``[n, context]``, sorted, ``[used]``."""
    seen = torch.zeros(vocabulary, dtype=torch.bool)
    for part in torch.split(tokens, CAPTIONS_PER_CHUNK):
        seen[part.flatten().long()] = True
    return seen.nonzero().squeeze(1)


class UsedEmbedding(nn.Module):
    """The rows of a token embedding that some tokens use; takes tokens of the whole vocabulary."""

    row_of_token: Tensor
    initial: Tensor

    def __init__(self, whole: nn.Embedding, used: Tensor) -> None:
        super().__init__()
        self.used = used
        self.weight = nn.Parameter(whole.weight.detach()[used].clone())
        row_of_token = torch.full((whole.num_embeddings,), -1)
        row_of_token[used] = torch.arange(len(used))
        # Neither is part of a run's state: both follow from the seed and the captions.
        self.register_buffer("row_of_token", row_of_token, persistent=False)
        self.initial = whole.weight.detach()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the rows of tokens ``[...]`` as ``[..., width]``.

        Raises:
            IndexError: a token that is not among the used ones.
        """
        return nn.functional.embedding(self.row_of_token[tokens], self.weight)

    def whole(self, decay: float) -> Tensor:
        """Return all rows ``[vocabulary, width]``.

        Args:
            decay: factor by which weight decay has shrunk a weight that never had a gradient.
        """
        rows = (self.initial * decay).to(self.weight.device)
        rows[self.used.to(rows.device)] = self.weight.detach()
        return rows


def narrow_vocabulary(tower: nn.Module, tokens: Tensor) -> None:
    """Keep only the rows of a text tower's token embedding that captions ``[n, context]`` use, where that pays.

    The names of icons use a thousandth to a fiftieth of CLIP's 49,408 tokens, whose rows would be most of what a step
    clears and updates.
    """
    whole = getattr(tower, "token_embedding", None)
    if type(whole) is not nn.Embedding:
        return
    used = used_tokens(tokens, whole.num_embeddings)
    if len(used) <= MAX_NARROWED_SHARE * whole.num_embeddings:
        tower.token_embedding = UsedEmbedding(whole, used)
