"""Losses, in the precision of their inputs but never below float32.

Half precision is for convolutions. At a temperature of 0.07 a logit is about 14, where bfloat16 steps by 1/16; one
matrix product in float32 costs next to nothing beside the encoder.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Return InfoNCE with one positive key a query and the queue as negatives, averaged over the batch: a scalar.

    -log(exp(q.k+ / T) / (exp(q.k+ / T) + sum over the queue of exp(q.k- / T))), equation 1 of He et al., Momentum
    Contrast, 2020. q, k: (B, D) and queue: (K, D), all of unit length. Gradients reach q (and k where it has any).
    """
    with torch.autocast(q.device.type, enabled=False):
        q, k, queue = at_least_float32(q), at_least_float32(k), at_least_float32(queue)
        positive = (q * k).sum(dim=1) / temperature  # (B,)
        negative = torch.logsumexp(q @ queue.T / temperature, dim=1)  # (B,)
        return (torch.logaddexp(positive, negative) - positive).mean()


def masked_bce_sum(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of binary cross-entropies over known targets, and how many are known: two scalars.

    logits: (B, C); targets: (B, C) in [0, 1], NaN where the class is unknown for that row.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = at_least_float32(logits)
        known = ~torch.isnan(targets)
        losses = F.binary_cross_entropy_with_logits(
            logits, torch.where(known, targets, 0.0).to(logits.dtype), reduction="none"
        )
        return torch.where(known, losses, 0.0).sum(), known.sum()


def masked_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean binary cross-entropy with logits over known targets: a scalar, 0 with a gradient if none is."""
    total, count = masked_bce_sum(logits, targets)
    return total / count.clamp(min=1)


def at_least_float32(values: Tensor) -> Tensor:
    """Return half-precision values as float32, others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
