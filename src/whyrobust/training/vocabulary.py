"""The part of a token embedding that a run's captions use.

Stands alone because it is exact, and only that makes it fit to compare runs: a token that never occurs has no gradient,
so all that AdamW does to its row is to shrink it, by a factor that is known without training. The names of icons use a
thousandth to a fiftieth of CLIP's 49,408 tokens, whose rows would be most of what is cleared and updated in a step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Captions that are looked at together; numbers of 8 bytes stand beside the 4-byte tokens meanwhile.
CAPTIONS_AT_A_TIME = 100_000

#: Above this share of the vocabulary nothing is gained.
WORTHWHILE_SHARE = 0.5


def used_tokens(tokens: Tensor, vocabulary: int) -> Tensor:
    """Return the tokens that occur in captions ``[n, context]``, in order, ``[used]``."""
    seen = torch.zeros(vocabulary, dtype=torch.bool)
    for part in torch.split(tokens, CAPTIONS_AT_A_TIME):
        seen[part.flatten().long()] = True
    return seen.nonzero().squeeze(1)


class UsedEmbedding(nn.Module):
    """Rows of an embedding for some of its tokens; takes the tokens of the whole vocabulary."""

    number_of: Tensor
    start: Tensor

    def __init__(self, whole: nn.Embedding, used: Tensor) -> None:
        super().__init__()
        self.used = used
        self.weight = nn.Parameter(whole.weight.detach()[used].clone())
        number_of = torch.full((whole.num_embeddings,), -1)
        number_of[used] = torch.arange(len(used))
        # Neither is part of a run's state: both follow from the seed and the captions.
        self.register_buffer("number_of", number_of, persistent=False)
        self.start = whole.weight.detach()

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the rows of tokens ``[...]`` as ``[..., width]``.

        Raises:
            IndexError: a token that is not among the used.
        """
        return nn.functional.embedding(self.number_of[tokens], self.weight)

    def whole(self, shrunk: float) -> Tensor:
        """Return all rows ``[vocabulary, width]``.

        Args:
            shrunk: what weight decay has multiplied a weight with that never had a gradient.
        """
        rows = (self.start * shrunk).to(self.weight.device)
        rows[self.used.to(rows.device)] = self.weight.detach()
        return rows


def narrow_vocabulary(tower: nn.Module, tokens: Tensor) -> None:
    """Leave of a text tower's token embedding what captions ``[n, context]`` use, where that saves something."""
    whole = getattr(tower, "token_embedding", None)
    if type(whole) is not nn.Embedding:
        return
    used = used_tokens(tokens, whole.num_embeddings)
    if len(used) <= WORTHWHILE_SHARE * whole.num_embeddings:
        tower.token_embedding = UsedEmbedding(whole, used)
