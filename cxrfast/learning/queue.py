"""The queue of negatives: a ring in device memory, moved without ever asking the device where it stands.

The pointer is a tensor, so that a step on a GPU needs no synchronisation, and a buffer like the keys, so that a resumed
run goes on with the very negatives it had. Any batch size fits: the ring wraps within a batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxrfast import chance


class NegativeQueue(nn.Module):
    """The last `size` keys, float32 (K, D), oldest overwritten first; starts as seeded random unit vectors."""

    keys: Tensor
    pointer: Tensor

    def __init__(self, size: int, dim: int, *, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(int(chance.counter_hash("negatives", seed)))
        start = torch.randn(size, dim, generator=generator, device="cpu", dtype=torch.float32)
        self.register_buffer("keys", F.normalize(start, dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Write a batch of keys (B, D) over the oldest; of more than K, the last K stay."""
        size, count = len(self.keys), len(keys)
        skipped = max(count - size, 0)
        places = torch.arange(skipped, count, device=self.keys.device) + self.pointer
        self.keys.index_copy_(0, places.remainder_(size), keys[skipped:].to(self.keys.dtype))
        self.pointer.add_(count).remainder_(size)
