"""The one graph that DALI runs: stored images in, views out.

DALI fixes a graph when it is built, and anything that differs from image to image has to be an input of it. So halving
is a chain of steps that each image either takes or passes through unchanged, only as many as the set needs. The module
`nvidia.dali` comes in as an argument: it is optional, and imported in one place.
"""

from typing import Any

import torch

Dali = Any
"""The module `nvidia.dali`."""
Node = Any
"""A node of the graph under construction."""

HARDWARE_SHARE = 0.0
"""Share of JPEGs for the GPU's decoding engine. It and CUDA's decoder differ by a gray level here and there, and who
gets an image depends on its neighbours: only 0 and 1 give an image the same pixels in every batch."""
STRIP = 64
"""Columns that one warp on the CPU makes; see `strips`."""


def strips(size: int, *, device: str) -> list[tuple[int, int]]:
    """Return (first column, number of columns) of the warps that a view of `size` columns is made of.

    On the CPU DALI steps along a row by adding single-precision numbers, so what rounding shifts grows with the row:
    noise is up to 1.1 gray levels off at 224 columns and 1.2 at 400, but 0.7 in strips of 64. A GPU works out each
    pixel's place anew and takes the view whole.
    """
    width = size if device == "cuda" else STRIP
    return [(start, min(width, size - start)) for start in range(0, size, width)]


def build(
    dali: Dali,
    *,
    num_views: int,
    size: int,
    most_halvings: int,
    pixels: bool,
    batch_size: int,
    num_threads: int,
    device: torch.device,
) -> Any:  # noqa: ANN401
    """Return a graph for up to `batch_size` images: views, uint8 (n, V, 1, S, S), and sizes, int64 (n, 3).

    Its inputs are `images`, stored bytes or with `pixels` uint8 (h, w, 1), and those that `dali_inputs.geometry` gives.
    """
    gpu = device.type == "cuda"
    graph = dali.Pipeline(
        batch_size=batch_size,
        num_threads=num_threads,
        device_id=device.index if gpu else None,
        prefetch_queue_depth=1,
        exec_dynamic=True,  # outputs own their memory, for as long as somebody holds them
    )
    with graph:
        stored = _source(dali, gpu=gpu, pixels=pixels)
        columns = strips(size, device=device.type)
        views = [_view(dali, stored, view, most_halvings, size, columns) for view in range(num_views)]
        graph.set_outputs(dali.fn.stack(*views, axis=0), stored.shape())
    graph.build()
    return graph


def _source(dali: Dali, *, gpu: bool, pixels: bool) -> Node:
    """Return the stored images as gray pixels, uint8 (h, w, 1), on the device."""
    if pixels:
        stored = dali.fn.external_source(name="images", dtype=dali.types.UINT8, ndim=3, layout="HWC")
        return stored.gpu() if gpu else stored
    # The defaults pin each decoding thread to a CPU, the same ones for all ranks of a node.
    more = {"hw_decoder_load": HARDWARE_SHARE, "affine": False} if gpu else {}
    return dali.fn.decoders.image(
        dali.fn.external_source(name="images", dtype=dali.types.UINT8, ndim=1),
        device="mixed" if gpu else "cpu",
        output_type=dali.types.GRAY,
        adjust_orientation=False,
        **more,
    )


def _view(dali: Dali, image: Node, view: int, halvings: int, size: int, columns: list[tuple[int, int]]) -> Node:
    """Return one view of each image: uint8 (1, S, S)."""
    for level in range(halvings):
        image = _halved(
            dali, image, size=_input(dali, f"size_{view}_{level}", 1), end=_input(dali, f"end_{view}_{level}", 1)
        )
    parts = [
        dali.fn.warp_affine(
            image,
            matrix=_input(dali, f"map_{view}_{strip}", 2),
            size=[size, width],
            interp_type=dali.types.INTERP_LINEAR,
            fill_value=0.0,
        )
        for strip, (_, width) in enumerate(columns)
    ]
    whole = parts[0] if len(parts) == 1 else dali.fn.cat(*parts, axis=1)
    return dali.fn.reshape(whole, shape=[1, size, size], layout="")


def _halved(dali: Dali, image: Node, *, size: Node, end: Node) -> Node:
    """Return 2x2 means, rounded half up, where `size` is half of `end`; the image itself where both are its size.

    Halfway between two pixels linear interpolation is their mean, exact in floating point, and beyond the edge the last
    one is repeated. The means are quarters, so with an eighth added the nearest whole number is a half rounded up.
    """
    means = dali.fn.resize(
        image,
        size=size,
        roi_start=[0.0, 0.0],
        roi_end=end,
        interp_type=dali.types.INTERP_LINEAR,
        antialias=False,
        subpixel_scale=False,
        dtype=dali.types.FLOAT,
    )
    return dali.fn.cast(means + 0.125, dtype=dali.types.UINT8)


def _input(dali: Dali, name: str, ndim: int) -> Node:
    return dali.fn.external_source(name=name, dtype=dali.types.FLOAT, ndim=ndim)
