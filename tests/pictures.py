"""Image files made for one test: one scene in any mode, DICOMs of any values, headers that lie."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, RLELossless

from cxrfast.errors import ImageRejected
from cxrfast.imaging import read_gray

CODES = {"missing", "empty", "truncated", "not-an-image", "unsupported", "too-large"}


def scene(height=60, width=84):
    """Return a smooth picture without symmetry: uint8 (h, w)."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width)).astype(np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 4)
    ramp = np.linspace(0, 120, width, dtype=np.float32)[None] + np.linspace(0, 60, height, dtype=np.float32)[:, None]
    return np.clip(smooth.astype(np.float32) - 90 + ramp, 0, 255).astype(np.uint8)


GRAY = scene()


def encoded(image, kind, **options):
    """Return a Pillow image as bytes of a file of that kind."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pillow(mode):
    """Return the scene in one of Pillow's modes."""
    gray = Image.fromarray(GRAY)
    if mode == "I;16":
        return Image.fromarray(GRAY.astype(np.uint16) * 257)
    if mode == "RGBA":
        alpha = Image.fromarray(np.tile(np.arange(84, dtype=np.uint8) * 3, (60, 1)))
        return Image.merge("RGBA", (gray, gray, gray, alpha))
    if mode == "P":
        return gray.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    if mode == "CMYK":
        return gray.convert("RGB").convert("CMYK")
    return gray.convert(mode)


def code_of(data, **options):
    """Return the code with which the bytes are rejected, or None where they are read."""
    try:
        read_gray(data, **options)
    except ImageRejected as error:
        rejected = error
    else:
        return None
    assert rejected.code in CODES
    assert str(rejected).startswith(rejected.code)
    return rejected.code


def png_chunk(kind, body):
    """Return a chunk of a PNG with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width, height, pixels=b"\0", *, bits=8, colour_type=0, interlaced=False, palette=b""):
    """Return a well-formed PNG whose header claims a size and a mode, with these filtered rows."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    if palette:
        chunks.insert(1, (b"PLTE", palette))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


# First column and row, and steps, of Adam7's passes (PNG, third edition, 8.2).
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png_of(samples, bits, colour_type, *, interlaced=False, palette=b""):
    """Return a PNG of samples (h, w, channels), written out by hand since Pillow cannot: any depth, Adam7 too."""
    height, width = samples.shape[:2]
    passes = [samples[y::down, x::across] for x, y, across, down in _ADAM7] if interlaced else [samples]
    rows = b"".join(_png_rows(part, bits) for part in passes if part.size)
    return png_claiming(width, height, rows, bits=bits, colour_type=colour_type, interlaced=interlaced, palette=palette)


def _png_rows(samples, bits):
    places = np.arange(bits - 1, -1, -1)
    rows = np.packbits((samples[..., None] >> places & 1).reshape(len(samples), -1).astype(np.uint8), axis=1)
    return np.pad(rows, ((0, 0), (1, 0))).tobytes()


def jpeg_claiming(width, height, **options):
    """Return a JPEG whose frame header claims a size."""
    data = encoded(pillow("L"), "JPEG", **options)
    at = data.index(b"\xff\xc2" if options else b"\xff\xc0")
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def dicom(pixels, *, bits=None, syntax=ExplicitVRLittleEndian, pixel_data=None, **elements):
    """Return the bytes of a small DICOM file of these stored values (h, w)."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = DigitalXRayImageStorageForPresentation
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    if pixels.ndim == 3:
        data.PlanarConfiguration = 0
    data.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    data.BitsAllocated = pixels.dtype.itemsize * 8
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes() if pixel_data is None else pixel_data
    data["PixelData"].VR = "OW"
    if syntax.is_encapsulated:
        data["PixelData"].is_undefined_length = True
    for name, value in elements.items():
        setattr(data, name, value)
    if syntax == RLELossless and pixel_data is None:
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data["PixelData"].is_undefined_length = False
        data.compress(RLELossless, generate_instance_uid=False)
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


RAMP = np.linspace(0, 4095, 64 * 64).astype(np.uint16).reshape(64, 64)
