import gc

import pytest
import torch

from cxrfast.loading.canvas import Canvases


@pytest.mark.parametrize("hold", [lambda t: t[1:2], lambda t: t.numpy(), lambda t: t.view(-1), lambda t: t.detach()])
def test_memory_comes_back_only_when_nothing_holds_it(hold):
    """Any slice, view or array over a tensor keeps its memory out of use; the last one gone, it is used again."""
    canvases = Canvases((2, 3), pinned=False)
    tensor = canvases.take(4)
    place = tensor.data_ptr()
    held = hold(tensor)
    del tensor
    gc.collect()
    assert canvases.take(4).data_ptr() != place
    del held
    gc.collect()
    assert place in {tensor.data_ptr() for tensor in [canvases.take(4) for _ in range(2)]}


def test_a_smaller_batch_fits_into_memory_of_a_larger_one():
    """The last batch of an epoch may be smaller; a larger one gets memory of its own."""
    canvases = Canvases((5,), pinned=False)
    place = canvases.take(8).data_ptr()
    small = canvases.take(3)
    assert small.data_ptr() == place
    assert small.shape == (3, 5)
    del small
    assert canvases.take(9).shape == (9, 5)


def test_an_empty_batch_has_the_right_shape():
    """A rank without samples in the last batch still gets uint8 (0, V, 1, S, S)."""
    empty = Canvases((2, 1, 8, 8), pinned=False).take(0)
    assert empty.shape == (0, 2, 1, 8, 8)
    assert empty.dtype == torch.uint8


def test_tensors_outlive_what_made_them():
    """A batch stays the caller's after the epoch and its memory pool are gone."""
    canvases = Canvases((4,), pinned=False)
    tensor = canvases.take(2).fill_(7)
    del canvases
    gc.collect()
    assert tensor.tolist() == [[7] * 4] * 2
