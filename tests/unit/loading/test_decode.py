import io
import pickle

import cv2
import numpy as np
import pytest

from cxrfast.loading.decode import UndecodableError, decode

IMAGE = np.random.default_rng(0).integers(0, 256, (31, 47), dtype=np.uint8)


def npy(array, **settings):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **settings)
    return stream.getvalue()


@pytest.mark.parametrize("payload", [cv2.imencode(".png", IMAGE)[1].tobytes(), npy(IMAGE), npy(IMAGE[:1, :1])])
def test_lossless_payloads_come_back_as_they_were(payload):
    """PNG and npy give the very pixels, whatever the size."""
    found = decode(memoryview(payload))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, IMAGE[: found.shape[0], : found.shape[1]])


def test_a_jpeg_is_decoded_to_gray():
    """A JPEG gives what OpenCV's own gray reading gives."""
    payload = cv2.imencode(".jpg", IMAGE, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    np.testing.assert_array_equal(decode(memoryview(payload.tobytes())), cv2.imdecode(payload, cv2.IMREAD_GRAYSCALE))


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "cannot decode"),
        (b"\xff\xd8\xff not a picture", "cannot decode"),
        (cv2.imencode(".png", IMAGE)[1].tobytes()[:20], "cannot decode"),
        (npy(np.array([[Bomb()]], dtype=object), allow_pickle=True), "not 8-bit gray"),
        (pickle.dumps(Bomb()), "cannot decode"),
        (npy(IMAGE.astype(np.uint16)), "not 8-bit gray"),
        (npy(np.asfortranarray(IMAGE)), "not 8-bit gray"),
        (npy(IMAGE[None]), "not 8-bit gray"),
        (npy(IMAGE[:0]), "not 8-bit gray"),
        (npy(IMAGE)[:-1], "bytes of pixels, not 47 x 31"),
        (npy(IMAGE) + b"x", "bytes of pixels, not 47 x 31"),
        (npy(IMAGE, version=(2, 0)), "version"),
        (npy(IMAGE)[:30], "header"),
        (npy(IMAGE)[:10] + b"[" * 110 + b"\n" * 8, "header"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_in_words(payload, words):
    """No pickle, no other type, layout or version, nothing cut short: each is named, none is loaded."""
    with pytest.raises(UndecodableError, match=words):
        decode(memoryview(payload))
