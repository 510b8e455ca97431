"""What reading costs in memory: the kernel's high-water mark of a process that imports what a worker imports.

VmHWM and not `getrusage`, whose maximum a process inherits from the one that started it.
"""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from pictures import dicom, encoded, jpeg_claiming, png_chunk, png_claiming
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, RLELossless

WORKER = """
import sys
from pathlib import Path
from cxrfast.packing.encode import Job, Packed, pack_job, ready_worker
from cxrfast.packing.recipe import Recipe

def pack(name, long_side):
    job = Job(sys.argv[1], Recipe("tiny", long_side=long_side), ("tiny-0",), (name,), ({},))
    return pack_job(job)[0]

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

ready_worker()
"""
HEIGHT, WIDTH = 4000, 5000


def in_a_worker(folder, code):
    """Run code after the worker's imports; return what it prints, in words."""
    done = subprocess.run([sys.executable, "-c", WORKER + code, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def lying_dicom(syntax, frame):
    """Return a modest DICOM around a codestream."""
    return dicom(np.zeros((60, 84), np.uint8), syntax=syntax, pixel_data=encapsulate([frame]))


def bombs():
    """Return files of a few kilobytes that claim gigabytes, or hold them."""
    sides = struct.pack(">HH8IH", 41, 0, 60_000, 60_000, 0, 0, 60_000, 60_000, 0, 0, 1)
    return {
        "png": png_claiming(30_000, 30_000, bytes(50_000_000)),
        "jpeg": jpeg_claiming(65_000, 65_000),
        "progressive": jpeg_claiming(65_000, 65_000, progressive=True),
        "dicom": dicom(np.zeros((8, 8), np.uint16), Rows=60_000, Columns=60_000),
        "jpeg-in-dicom": lying_dicom(JPEGBaseline8Bit, jpeg_claiming(65_000, 65_000)),
        "rle": lying_dicom(RLELossless, struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 500_000),
        "jpeg2000": lying_dicom(JPEG2000, b"\xff\x4f\xff\x51" + sides + bytes(60)),
    }


def test_a_decompression_bomb_costs_no_memory(tmp_path):
    """Judged from its header, each is too large, and the process does not grow by 30 MB."""
    for name, content in bombs().items():
        (tmp_path / name).write_bytes(content)
    small = compressed(np.zeros((60, 84), np.uint16), JPEG2000Lossless)
    (tmp_path / "small").write_bytes(small)  # pydicom and its decoders are imported before counting begins
    code = f"pack('small', 320); before = peak()\nprint(*[pack(name, 320).code for name in {list(bombs())!r}])\n"
    *codes, grown = in_a_worker(tmp_path, code + "print(peak() - before)")
    assert codes == ["too-large"] * len(bombs())
    assert float(grown) < 30


def rgba_png(*, interlaced=False):
    """Return a PNG of 20 megapixels of four 16-bit channels, all black."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 6, 0, 0, interlaced)
    passes = [(WIDTH, HEIGHT)]
    if interlaced:
        passes = [(625, 500), (625, 500), (1250, 500), (1250, 1000), (2500, 1000), (2500, 2000), (5000, 2000)]
    packer = zlib.compressobj(1)
    pixels = b"".join(packer.compress(bytes(1 + 8 * width)) for width, height in passes for _ in range(height))
    chunks = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", pixels + packer.flush()), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def rgb_jpeg(**options):
    gray = np.tile(np.arange(250, dtype=np.uint8), (HEIGHT, WIDTH // 250))
    return encoded(Image.fromarray(gray).convert("RGB"), "JPEG", **options)


def deep():
    return np.tile(np.arange(5000, dtype=np.uint16) * 13, (HEIGHT, 1))


def compressed(pixels, syntax):
    dataset = dcmread(io.BytesIO(dicom(pixels)))
    dataset.compress(syntax, generate_instance_uid=False)
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def lossless_jpeg():
    """Return a DICOM of a lossless JPEG of one value: each pixel is the code 00000 of no difference."""
    frame = (
        b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB3B", 11, 16, HEIGHT, WIDTH, 1, 1, 0x11, 0)
        + b"\xff\xc4" + struct.pack(">HB16B", 36, 0, 0, 0, 0, 0, 17, *[0] * 11) + bytes(range(17))
        + b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 1, 0, 0) + bytes(HEIGHT * WIDTH * 5 // 8) + b"\xff\xd9"
    )  # fmt: skip
    return dicom(deep(), syntax=JPEGLosslessSV1, pixel_data=encapsulate([frame]))


KINDS = {
    "png-rgba-16": rgba_png,
    "png-rgba-16-interlaced": lambda: rgba_png(interlaced=True),
    "jpeg-rgb-progressive": lambda: rgb_jpeg(progressive=True, subsampling=0),
    "dicom-16": lambda: dicom(deep()),
    "dicom-rgb": lambda: dicom(np.zeros((HEIGHT, WIDTH, 3), np.uint8)),
    "dicom-16-jpeg2000": lambda: compressed(deep(), JPEG2000Lossless),
    "dicom-rgb-jpeg2000": lambda: compressed(np.zeros((HEIGHT, WIDTH, 3), np.uint8), JPEG2000Lossless),
    "dicom-16-lossless-jpeg": lossless_jpeg,
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_worker_stays_under_600_mb_at_20_megapixels(tmp_path, kind, record_property):
    """The most expensive kinds of 20 megapixels, at full size, where nothing is decoded at a reduced scale."""
    (tmp_path / "image").write_bytes(KINDS[kind]())
    outcome, megabytes = in_a_worker(tmp_path, "print(type(pack('image', 0)).__name__, peak())")
    record_property("megabytes", megabytes)
    assert outcome == "Packed"
    assert float(megabytes) < 600
