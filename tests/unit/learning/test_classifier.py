import math

import pytest
import torch
from unit.learning.fakes import FakeFeed, tiny

from cxrfast.errors import TrainingError, WeightsError
from cxrfast.learning.classifier import Classifier
from cxrfast.learning.losses import masked_bce
from cxrfast.learning.method import Step
from cxrfast.learning.moco import Moco, MocoSettings


def make(outputs=2, seed=1, start="random"):
    return Classifier(outputs=outputs, seed=seed, start=start, make_encoder=tiny)


def test_a_classifier_goes_on_from_a_pretexts_query_encoder():
    """All layers but the last equal the pretext's query encoder's; the last is new; every one is trainable."""
    moco = Moco(MocoSettings(dim=8, queue=4), start="random", seed=5, make_encoder=tiny)
    classifier = make(start=moco.encoder_state(), seed=1)
    theirs, fresh = moco.query.net.state_dict(), make(seed=1).encoder.net.state_dict()
    for name, value in classifier.encoder.net.state_dict().items():
        assert torch.equal(value, fresh[name] if name.startswith("fc.") else theirs[name]), name
    assert all(p.requires_grad for p in classifier.parameters())


def test_a_pretext_of_another_network_is_refused():
    """A state that lacks layers is an error, not a half-random start."""
    with pytest.raises(WeightsError, match=r"missing: bn1\.weight.* and 5 more"):
        make(start={"conv1.weight": torch.zeros(8, 3, 3, 3)})


def test_the_sets_loss_is_the_mean_over_all_known_targets():
    """Sums over batches divided by their counts give the loss of the whole set at once, however targets are spread."""
    classifier, feed = make().double().eval(), FakeFeed(size=21, batch=8, keep=True)
    feed.labels[torch.rand(21, 2, generator=torch.Generator().manual_seed(0)) < 0.4] = math.nan
    feed.labels[:8] = math.nan
    whole = next(iter(FakeFeed(size=21, batch=21).epoch(0)))
    with torch.no_grad():
        parts = [classifier.validation_loss(b.images, b.labels) for b in feed.epoch(0)]
        expected = masked_bce(classifier.logits(whole.images), feed.labels[whole.index])
    assert float(sum(p[0] for p in parts) / sum(p[1] for p in parts)) == pytest.approx(float(expected), rel=1e-12)


def test_scores_are_probabilities_in_float64_under_autocast():
    """Scores are the sigmoid of the logits, widened first."""
    classifier = make().eval()
    images = next(iter(FakeFeed().epoch(0))).images
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores, logits = classifier.scores(images), classifier.logits(images)
    assert logits.dtype == torch.bfloat16
    assert torch.equal(scores, torch.sigmoid(logits.double()))


def test_labels_and_views_must_fit():
    """Another number of labels or views is refused with both numbers."""
    with pytest.raises(TrainingError, match="3 outputs, but batches carry 2 labels"):
        make(outputs=3)(torch.zeros(4, 1, 1, 16, 16, dtype=torch.uint8), torch.zeros(4, 2), Step(0, 1))
    with pytest.raises(TrainingError, match="1 view of each image, got 2"):
        make().logits(torch.zeros(4, 2, 1, 16, 16, dtype=torch.uint8))
