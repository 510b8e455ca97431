import itertools
import math

import pytest
import torch
from torch.nn.functional import normalize

from cxrfast.learning.losses import info_nce, masked_bce, masked_bce_sum


def unit(*shape, seed):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=1)


def info_nce_as_printed(q, k, queue, temperature):
    """Equation 1 of He et al. 2020, term by term."""
    losses = []
    for i in range(len(q)):
        positive = math.exp(float(q[i] @ k[i]) / temperature)
        negatives = sum(math.exp(float(q[i] @ n) / temperature) for n in queue)
        losses.append(-math.log(positive / (positive + negatives)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize(
    ("batch", "size", "dim", "temperature"),
    [*itertools.product((1, 2, 7), (1, 5, 64), (2, 128), (0.05, 0.07, 0.2, 1.0))],
)
def test_info_nce_is_the_papers_formula(batch, size, dim, temperature):
    """InfoNCE equals equation 1 of the MoCo paper in float64, for any batch, queue, dimension and temperature."""
    q, k, queue = unit(batch, dim, seed=1), unit(batch, dim, seed=2), unit(size, dim, seed=3)
    assert float(info_nce(q, k, queue, temperature)) == pytest.approx(
        info_nce_as_printed(q, k, queue, temperature), rel=1e-12, abs=1e-12
    )


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_info_nce_of_equal_similarities_is_log_of_their_number(size):
    """Where the positive is no nearer than K negatives, the loss is log(K + 1): chance level."""
    one = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert float(info_nce(one, one, one.expand(size, 2), 0.07)) == pytest.approx(math.log(size + 1), rel=1e-12)


def test_info_nce_gives_the_query_the_gradient_of_the_formula():
    """The query's gradient passes a numerical check in float64."""
    q, k, queue = unit(3, 4, seed=1).requires_grad_(), unit(3, 4, seed=2), unit(9, 4, seed=3)
    assert torch.autograd.gradcheck(lambda x: info_nce(x, k, queue, 0.2), (q,))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_before_the_products(dtype):
    """Half-precision queries give the loss of their values in float32, inside autocast too."""
    q, k, queue = (unit(n, 16, seed=n).to(dtype) for n in (4, 4, 32))
    wide = info_nce(q.float(), q.float(), queue.float(), 0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = info_nce(q, q, queue, 0.07)
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow, wide)
    assert k.dtype == dtype


def bce_as_printed(logits, targets):
    terms = []
    for x, t in zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True):
        if not math.isnan(t):
            p = 1 / (1 + math.exp(-x))
            terms.append(-(t * math.log(p) + (1 - t) * math.log(1 - p)))
    return sum(terms) / len(terms)


@pytest.mark.parametrize(("rows", "classes", "share"), [*itertools.product((1, 3, 16), (1, 2, 14), (0.0, 0.3))])
def test_masked_bce_is_the_mean_over_known_targets(rows, classes, share):
    """Binary cross-entropy equals the formula averaged over known targets, unknown ones left out of sum and count."""
    generator = torch.Generator().manual_seed(rows * 100 + classes)
    logits = 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    targets = (torch.rand(rows, classes, generator=generator) < 0.5).double()
    targets[torch.rand(rows, classes, generator=generator) < share] = math.nan
    targets[0, 0] = 1.0
    assert float(masked_bce(logits, targets)) == pytest.approx(bce_as_printed(logits, targets), rel=1e-12)
    assert int(masked_bce_sum(logits, targets)[1]) == int((~targets.isnan()).sum())


def test_unknown_targets_pull_at_nothing():
    """An unknown target gives its logit a gradient of exactly 0, even where the logit is extreme."""
    logits = torch.tensor([[1.0, 500.0, -500.0]], requires_grad=True)
    masked_bce(logits, torch.tensor([[1.0, math.nan, math.nan]])).backward()
    assert logits.grad[0, 0] != 0
    assert torch.equal(logits.grad[0, 1:], torch.zeros(2))


def test_a_batch_without_known_targets_gives_zero_with_a_gradient():
    """Where nothing is known the loss is 0, and backward still runs and gives zeros."""
    logits = torch.randn(2, 3, requires_grad=True)
    loss = masked_bce(logits, torch.full((2, 3), math.nan))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 3))
