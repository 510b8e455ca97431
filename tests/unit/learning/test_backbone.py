import itertools

import pytest
import torch
import torchvision
from unit.learning.fakes import same_bits, tiny

from cxrfast.errors import WeightsError
from cxrfast.learning.backbone import IMAGENET_MEAN, IMAGENET_STD, GrayToRGB, resnet18
from cxrfast.learning.classifier import Classifier


@pytest.fixture(scope="module")
def body():
    """Give a state dict of torchvision's resnet18, with its own last layer of 1,000 outputs."""
    return torchvision.models.resnet18(weights=None).state_dict()


@pytest.mark.parametrize(("channels_last", "strided"), [*itertools.product((True, False), (True, False))])
def test_the_gray_step_is_imagenets_normalisation(channels_last, strided):
    """Each channel is (pixel / 255 - mean) / std, in the layout asked for, also from one view of several."""
    images = torch.randint(0, 256, (3, 2, 1, 8, 8), dtype=torch.uint8)
    gray = images[:, 1] if strided else images[:, 1].clone()
    made = GrayToRGB().double()(gray, channels_last=channels_last)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    assert torch.allclose(made, (gray.double() / 255 - mean) / std, atol=1e-6)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert made.is_contiguous(memory_format=layout)


def test_the_gray_step_speaks_autocasts_dtype():
    """Outside autocast the step gives the module's dtype, inside it autocast's, with no channel in its state."""
    gray = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    step = GrayToRGB()
    assert step(gray).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert step(gray).dtype == torch.bfloat16
    assert step.state_dict() == {}


def test_an_encoder_computes_the_same_in_either_layout():
    """Channels-last weights get channels-last pixels, and the outputs agree with the plain layout's."""
    encoder = tiny(3, "random", seed=1).double().eval()
    gray = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    plain = encoder(gray)
    assert torch.allclose(encoder.to(memory_format=torch.channels_last)(gray), plain, atol=1e-12)


def test_random_weights_come_from_the_seed_alone():
    """The same seed gives the same weights after any use of the global generator, which is left as it was."""
    torch.rand(1)
    before = torch.get_rng_state()
    first = resnet18(5, "random", seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert same_bits(resnet18(5, "random", seed=3).state_dict(), first.state_dict())
    other = resnet18(5, "random", seed=4).net
    assert not torch.equal(other.conv1.weight, first.net.conv1.weight)
    assert not torch.equal(other.fc.weight, first.net.fc.weight)


@pytest.mark.parametrize("last", [True, False])
def test_a_torchvision_file_fits_and_the_last_layer_is_new(tmp_path, body, last):
    """All but `fc` come from the file, whether it has an `fc` or not; `fc` has the outputs asked for, from the seed."""
    path = tmp_path / "body.pt"
    torch.save({name: value for name, value in body.items() if last or not name.startswith("fc.")}, path)
    net = resnet18(7, str(path), seed=1).net
    assert all(torch.equal(value, body[name]) for name, value in net.state_dict().items() if "fc." not in name)
    assert net.fc.weight.shape == (7, 512)
    assert torch.equal(net.fc.weight, resnet18(7, "random", seed=1).net.fc.weight)


def test_the_mlp_head_is_moco_v2s():
    """`head="mlp"` is Linear 512-512, ReLU, Linear 512-128."""
    head = resnet18(128, "random", seed=1, head="mlp").net.fc
    assert [tuple(layer.weight.shape) for layer in head if hasattr(layer, "weight")] == [(512, 512), (128, 512)]
    assert isinstance(head[1], torch.nn.ReLU)


def faulty(body):
    missing = dict(body)
    del missing["layer1.0.conv1.weight"]
    return {
        "missing: layer1.0.conv1.weight": missing,
        "unexpected: layer9.weight": body | {"layer9.weight": torch.zeros(1)},
        "conv1.weight is (64, 1, 7, 7) and should be (64, 3, 7, 7)": body | {"conv1.weight": torch.zeros(64, 1, 7, 7)},
        "holds no state dict": {"epoch": 3},
    }


@pytest.mark.parametrize("words", faulty({"layer1.0.conv1.weight": 0}))
def test_weights_that_do_not_fit_are_named(tmp_path, body, words):
    """A missing, unexpected or misshaped tensor is an error that names it, the file, and what was expected."""
    path = tmp_path / "body.pt"
    torch.save(faulty(body)[words], path)
    with pytest.raises(WeightsError) as caught:
        resnet18(2, path, seed=1)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


class Payload:
    """Something that only an unsafe load would bring to life."""


def test_files_that_are_no_weights_are_refused(tmp_path):
    """An absent file, noise, a cut file and a pickle with code in it each end in a WeightsError naming the path."""
    whole = tmp_path / "whole.pt"
    torch.save({"a": torch.zeros(1000)}, whole)
    cut, noise, code = tmp_path / "cut.pt", tmp_path / "noise.pt", tmp_path / "code.pt"
    cut.write_bytes(whole.read_bytes()[:700])
    noise.write_bytes(b"not weights")
    torch.save({"conv1.weight": Payload()}, code)
    for path in (tmp_path / "absent.pt", cut, noise, code):
        with pytest.raises(WeightsError, match=path.name):
            resnet18(2, path, seed=1)


def test_without_a_network_imagenet_says_how_to_bring_the_file(tmp_path, monkeypatch):
    """Where the download fails nothing starts at random: the error names the file, its address and the setting."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(WeightsError) as caught:
        resnet18(2, "imagenet", seed=1)
    for words in ("IMAGENET1K_V1.url", "resnet18-f37072fd.pth", "weights: /path", "weights: random"):
        assert words in str(caught.value)


def test_an_encoders_state_loads_in_torchvision(body):
    """What a method hands on has torchvision's names and shapes, but for the last layer's outputs."""
    state = Classifier(start="random", outputs=4, seed=1).encoder_state()
    assert {k: v.shape for k, v in state.items() if "fc." not in k} == {
        k: v.shape for k, v in body.items() if "fc." not in k
    }
    torchvision.models.resnet18(num_classes=4).load_state_dict(state)
