import pytest
import torch

from cxrfast.learning.optimisers import OptimizerSettings, build_optimizer


def by_hand(name, w, grads, lr, decay, momentum=0.9, betas=(0.9, 0.999)):
    """Apply the published rules (SGD with momentum as in torch; Kingma & Ba 2015; Loshchilov & Hutter 2019)."""
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for t, g in enumerate(grads, start=1):
        if name == "adamw":
            w = w - lr * decay * w
        else:
            g = g + decay * w
        if name == "sgd":
            m = momentum * m + g
            w = w - lr * m
        else:
            m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
            w = w - lr * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + 1e-8)
    return w


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_each_rule_is_the_published_one(name, decay):
    """Five fused steps in float64 equal the rule written out."""
    layer = torch.nn.Linear(3, 2, bias=False).double()
    grads = [torch.randn(2, 3, dtype=torch.float64) for _ in range(5)]
    expected = by_hand(name, layer.weight.detach().clone(), grads, 0.05, decay)
    settings = OptimizerSettings(name=name, lr=0.05, weight_decay=decay)
    optimizer = build_optimizer(settings, layer, device=torch.device("cpu"))
    for grad in grads:
        layer.weight.grad = grad.clone()
        optimizer.step()
    assert torch.allclose(layer.weight, expected, rtol=1e-12, atol=1e-14)


def test_frozen_parameters_are_left_out():
    """A parameter without `requires_grad` is not the optimiser's, so weight decay cannot reach it."""
    layer = torch.nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    optimizer = build_optimizer(OptimizerSettings(), layer, device=torch.device("cpu"))
    assert [p is layer.weight for group in optimizer.param_groups for p in group["params"]] == [True]
