"""What the sheets of a set show is what is stored and what the loader renders."""

import cv2
import numpy as np
import pytest
from small_sets import noise_images, open_set

from cxrfast.errors import ConfigError, DamagedSample, ShardSetError
from cxrfast.experiment import show as sheets
from cxrfast.experiment.show import RARE_LINE, label_counts, show
from cxrfast.loading.loader import Loader
from cxrfast.loading.order import Sequential
from cxrfast.loading.views import ViewSpec
from cxrfast.shardset.shardset import ShardSet


@pytest.mark.parametrize("codec", ["jpeg", "png", "raw"])
def test_a_set_of_any_codec_is_shown(tmp_path, codec):
    """Three sheets of a set with labels of its own, more images asked for than there are."""
    shards = open_set(tmp_path / "set", noise_images(5), codec=codec)
    paths = show(shards, tmp_path / "out" / "sheet.png", images=24)
    assert [path.name for path in paths] == ["sheet.png", "sheet-views.png", "sheet-labels.png"]
    assert all(cv2.imread(str(path)) is not None for path in paths)


def test_chexpert_gets_its_rare_sheet_too(phantom_shards, tmp_path):
    """The seven targets of chexpert-rare on frontal training images; the counts are those of the manifest."""
    shards = ShardSet.open(phantom_shards / "chexpert")
    paths = show(shards, tmp_path / "sheet.png", images=3, seed=1)
    names = ["sheet.png", "sheet-views.png", "sheet-labels.png", "sheet-labels-rare.png"]
    assert [path.name for path in paths] == names
    train = shards.select("projection == 'frontal' and release_split == 'train'")
    rows, words = sheets._training_rows(shards)
    assert (len(rows), words) == (len(train), "frontal training images")
    counts = label_counts(rows.table, shards.annotated["chexpert"])
    assert (counts.sum(axis=1) == len(train)).all()
    for name in ("Edema", "No Finding"):
        assert counts.loc[name, "positive"] == (train.table[f"label.{name}"] == 1).sum()
        assert counts.loc[name, "blank"] == train.table[f"label.{name}"].isna().sum()


def test_the_line_is_drawn_for_a_set_of_chexperts_size_alone(phantom_shards, tmp_path, monkeypatch):
    """25,000 says something about CheXpert's 191,027 frontal training images and nothing about 300 of them."""
    shards = ShardSet.open(phantom_shards / "chexpert")
    lines = []
    monkeypatch.setattr(sheets, "label_distribution", lambda counts, path, **given: lines.append(given["rare"]) or path)
    sheets._labels(shards, tmp_path / "a.png")
    frontal = np.flatnonzero((shards.table["projection"] == "frontal") & (shards.table["release_split"] == "train"))
    sheets._labels(shards.rows(np.resize(frontal, 100_000)), tmp_path / "a.png")
    assert lines == [None, RARE_LINE]


def test_what_is_shown_is_stored_and_rendered_as_in_training(tmp_path, monkeypatch):
    """Pixels of the contact sheet equal those packed; those of views equal the loader's, draw by draw."""
    images = noise_images(12)
    shards = open_set(tmp_path / "set", images)
    given = {}
    monkeypatch.setattr(sheets, "contact_sheet", lambda shown, path, **_: given.update(stored=shown) or path)
    monkeypatch.setattr(sheets, "view_sheet", lambda rows, path, **_: given.update(rows=rows) or path)
    show(shards, tmp_path / "a.png", images=6, seed=3, views=("paper", "plain"))
    keys = [f"phantom-{shown.title}" for shown in given["stored"]]
    assert len(set(keys)) == 6
    for key, shown in zip(keys, given["stored"], strict=True):
        np.testing.assert_array_equal(shown.image, images[int(key[-5:])])
    few = shards.rows([int(key[-5:]) for key in keys[:4]])
    specs = [*[ViewSpec.paper()] * 3, ViewSpec.plain()]
    loader = Loader(few, views=specs, size=224, batch_size=4, seed=3, order=Sequential(lanes=1))
    (batch,) = loader.epoch(0)
    loader.close()
    for row, (_, _, draws) in enumerate(given["rows"]):
        assert [len(group) for group in draws] == [3, 1]
        np.testing.assert_array_equal(np.stack([*draws[0], *draws[1]]), batch.images[row, :, 0].numpy())


def test_the_seed_draws_the_images(tmp_path):
    """The same seed gives the same sheet, another one other images."""
    shards = open_set(tmp_path / "set", noise_images(30))
    content = [
        show(shards, tmp_path / f"{number}.png", images=3, seed=seed)[0].read_bytes()
        for number, seed in enumerate((0, 0, 1))
    ]
    assert content[0] == content[1] != content[2]


def test_mistakes_are_said_in_words(tmp_path):
    """A view that is none, a set that is empty, a damaged image."""
    shards = open_set(tmp_path / "set", noise_images(3))
    with pytest.raises(ConfigError, match="plain, paper, simclr"):
        show(shards, tmp_path / "a.png", views=("papr",))
    with pytest.raises(ShardSetError, match="holds no images"):
        show(shards.rows([]), tmp_path / "a.png")
    tar = shards.tar_path(0, 0)
    tar.write_bytes(b"\0" * tar.stat().st_size)
    with pytest.raises(DamagedSample, match="phantom-0000"):
        show(shards, tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
