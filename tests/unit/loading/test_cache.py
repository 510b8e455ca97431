import threading

import numpy as np
import pytest

from cxrfast.loading.cache import PixelCache


def image(row, side=10):
    return np.full((side, side), row, dtype=np.uint8)


def test_rows_come_back_as_they_went_in():
    """Each row its own pixels, read-only; another offer of the same row changes nothing."""
    cache = PixelCache(20, limit=10**6)
    for row in (3, 7):
        cache.offer(row, image(row))
    cache.offer(3, image(9))
    assert cache.has(np.arange(20)).nonzero()[0].tolist() == [3, 7]
    assert cache.get(3)[0, 0] == 3
    with pytest.raises(ValueError, match="read-only"):
        cache.get(3)[0, 0] = 1
    with pytest.raises(KeyError):
        cache.get(4)


def test_borrowed_memory_is_copied():
    """Pixels in a reader's buffer are gone when it is used again; what is kept is not."""
    buffer = bytearray(100)
    cache = PixelCache(1, limit=10**6)
    cache.offer(0, np.frombuffer(buffer, dtype=np.uint8).reshape(10, 10))
    buffer[:] = bytes([9]) * 100
    assert cache.get(0).max() == 0


def test_the_limit_holds_over_threads():
    """Many threads offer at once: never more than the limit is kept, and hardly less."""
    cache = PixelCache(4000, limit=300_000)

    def offer(start):
        for row in range(start, 4000, 4):
            cache.offer(row, image(row % 251))

    threads = [threading.Thread(target=offer, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == 300_000 // (100 + 200)
    assert len(cache) * 100 <= 300_000
