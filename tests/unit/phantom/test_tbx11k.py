"""The phantom TBX11K has the released folders, lists and two kinds of annotation, and tuberculosis can be learnt."""

import json
from collections import Counter
from xml.etree import ElementTree

import cv2
import pytest
from phantom_checks import drawn_findings, linear_auroc

from cxrfast.phantom import tbx11k


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return tbx11k.write_release(tmp_path_factory.mktemp("phantom"), images=24, seed=1)


def _images(release):
    imgs = release / "imgs"
    return {path.relative_to(imgs).as_posix() for path in imgs.rglob("*") if path.is_file()}


def _list(release, name):
    return set((release / "lists" / f"{name}.txt").read_text().split())


def test_folders_and_lists_agree(release):
    """Lists name every image once, TBX11K's without extra and test; numbering has gaps; extra has a JPEG."""
    images = _images(release)
    assert len(images) == 24
    assert {path.split("/")[0] for path in images} == {"health", "sick", "tb", "test", "extra"}
    own = {path for path in images if path.split("/")[0] in ("health", "sick", "tb")}
    assert _list(release, "TBX11K_train") | _list(release, "TBX11K_val") == _list(release, "TBX11K_trainval") == own
    assert not _list(release, "TBX11K_train") & _list(release, "TBX11K_val")
    assert _list(release, "all_train") | _list(release, "all_val") == _list(release, "all_trainval")
    assert _list(release, "all_trainval") | _list(release, "all_test") == images
    assert _list(release, "TBX11K_val")
    assert "health/h0005.png" in images
    assert "health/h0006.png" not in images
    assert any(path.startswith("extra/") and path.endswith(".jpg") for path in images)


def test_images_are_colour_at_512(release):
    """All but those of extra are RGB PNG of 512 x 512, three equal channels."""
    for path in _images(release):
        image = cv2.imread(str(release / "imgs" / path), cv2.IMREAD_UNCHANGED)
        assert image.shape[2] == 3
        if path.endswith(".png"):
            assert image.shape == (512, 512, 3)
            assert (image[..., 0] == image[..., 2]).all()


def test_annotations_are_told_two_ways(release):
    """Every image of tb/ has a box in both; COCO's lie within 512 pixels, VOC's within the size that it says."""
    content = json.loads((release / "annotations/json/TBX11K_trainval.json").read_text())
    assert [category["name"] for category in content["categories"]] == list(tbx11k.CATEGORIES)
    names = {image["id"]: image["file_name"] for image in content["images"]}
    assert set(names.values()) == _list(release, "TBX11K_trainval")
    boxed = {names[box["image_id"]] for box in content["annotations"]}
    assert boxed == {path for path in _images(release) if path.startswith("tb/")}
    assert all(0 <= x < x + w <= 512 and 0 <= y < y + h <= 512 for x, y, w, h in _coco_boxes(content))
    for path in boxed:
        root = ElementTree.parse(release / "annotations/xml" / f"{path[3:-4]}.xml").getroot()
        assert root.findtext("filename") == path[3:-4]
        assert int(root.findtext("size/width")) > 512
        assert all(
            int(box.findtext("xmax")) <= int(root.findtext("size/width")) for box in root.iterfind("object/bndbox")
        )


def _coco_boxes(content):
    return [box["bbox"] for box in content["annotations"]]


def test_all_categories_occur_and_test_is_hidden(release):
    """Active, obsolete and the uncertain kind all occur in the set's own images; none of test/ has a box."""
    content = json.loads((release / "annotations/json/all_trainval.json").read_text())
    assert {box["category_id"] for box in content["annotations"]} == {1, 2, 3}
    own = json.loads((release / "annotations/json/TBX11K_trainval_only_tb.json").read_text())
    kinds = Counter(box["category_id"] for box in own["annotations"])
    assert kinds[1]
    assert kinds[2]
    assert kinds[3]
    assert not any(image["file_name"].startswith("test") for image in content["images"])
    assert not list((release / "annotations/xml").glob("t0*.xml"))


def test_what_is_drawn_follows_the_folder(monkeypatch, tmp_path):
    """Health has nothing, tb tuberculosis, sick one of several others; test has some of each."""
    drawn = drawn_findings(monkeypatch, tbx11k, tmp_path, 120)
    for path, findings in drawn.items():
        folder = path.split("/")[1]
        expected = {"health": findings == set(), "tb": findings == {"Tuberculosis"}}
        assert expected.get(folder, len(findings) <= 1)
        assert folder != "sick" or findings - {"Tuberculosis"}
    hidden = Counter(
        "".join(findings) == "Tuberculosis" for path, findings in drawn.items() if path.startswith("imgs/test")
    )
    assert hidden[True] > 2
    assert hidden[False] > 2


def test_tuberculosis_is_learnable(tmp_path):
    """A linear model on 24 x 24 pixels ranks unseen images well above chance."""
    release = tbx11k.write_release(tmp_path, images=140, seed=3)
    labelled = sorted(_list(release, "TBX11K_trainval"))
    assert linear_auroc({release / "imgs" / path: path.startswith("tb/") for path in labelled}) > 0.7
