"""The phantom Kermany set is there twice, as the zip leaves it, tells all in its names, and can be learnt."""

import re
from collections import Counter, defaultdict

import cv2
import pytest
from phantom_checks import drawn_findings, linear_auroc
from PIL import Image

from cxrfast.phantom import kermany

NAMES = {
    "NORMAL": r"(IM|NORMAL2-IM)-(\d{4})-0001(-\d{4})?\.jpeg",
    "PNEUMONIA": r"person(\d+)_(?:(bacteria)_\d+|(virus)_\d+(_\d+)?)\.jpeg",
}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return kermany.write_release(tmp_path_factory.mktemp("phantom"), images=24, seed=1)


def _images(release):
    """Return the paths of the release's images below its folder, without nested copies."""
    return sorted(
        path.relative_to(release).as_posix() for split in kermany.SPLITS for path in (release / split).rglob("*.jpeg")
    )


def _patient(path):
    name = path.split("/")[-1]
    if ill := re.match(r"person(\d+)_(bacteria|virus)", name):
        return ill[2], int(ill[1])
    series, number = re.match(r"(IM|NORMAL2-IM)-(\d+)", name).groups()
    return series, int(number)


def test_the_layout_is_that_of_the_unpacked_zip(release):
    """24 images in three splits and two classes; each once more inside chest_xray, the same bytes; macOS's leavings."""
    images = _images(release)
    assert len(images) == 24
    assert {path.rpartition("/")[0] for path in images} == {
        f"{split}/{label}" for split in kermany.SPLITS for label in NAMES
    }
    for path in images:
        assert (release / "chest_xray" / path).read_bytes() == (release / path).read_bytes()
    hidden = [path for path in (release / "__MACOSX").rglob("*") if path.is_file()]
    assert all(path.name.startswith("._") for path in hidden)
    assert any(path.name.endswith(".jpeg") for path in hidden)
    assert (release / "chest_xray" / ".DS_Store").is_file()


def test_names_tell_series_patient_and_image(release):
    """All four series occur in each large split, with further images of a patient in both forms of name."""
    images = _images(release)
    assert len({path.split("/")[-1] for path in images}) == 24
    for path in images:
        assert re.fullmatch(NAMES[path.split("/")[1]], path.split("/")[2])
    for split in ("train", "test"):
        series = {_patient(path)[0] for path in images if path.startswith(split)}
        assert series == {"IM", "NORMAL2-IM", "bacteria", "virus"}
    assert any(re.search(r"virus_\d+_1\.jpeg", path) for path in images)
    assert any(re.search(r"IM-\d+-0001-0002\.jpeg", path) for path in images)


@pytest.mark.parametrize("images", [24, 250])
def test_patients_are_in_one_split_though_numbers_are_in_several(images):
    """By (series, number) splits are disjoint; by number alone they are not."""
    splits, numbers = defaultdict(set), defaultdict(set)
    planned = kermany.plan_images(images, seed=4)
    assert len({image.path for image in planned}) == images
    for image in planned:
        splits[_patient(image.path)].add(image.split)
        numbers[image.patient].add(image.split)
    assert all(len(found) == 1 for found in splits.values())
    assert any(len(found) > 1 for found in numbers.values())


def test_jpegs_are_of_all_kinds(release):
    """Gray and colour, some progressive, some with Adobe's segment, one turned; sizes differ."""
    kinds, sizes = Counter(), set()
    for path in _images(release):
        with Image.open(release / path) as image:
            kinds += Counter(
                [image.mode, *(mark for mark in ("progressive", "adobe") if mark in image.info)]
            ) + Counter(turned=image.getexif().get(0x0112) == 6)
            sizes.add(image.size)
        height, width = cv2.imread(str(release / path)).shape[:2]
        assert width > height  # a child's chest, and OpenCV sets the turned one upright
    assert kinds["L"] > kinds["RGB"] > 1
    assert kinds["progressive"] > 1
    assert kinds["adobe"] > 1
    assert kinds["turned"] == 1
    assert len(sizes) > 20


def test_what_is_drawn_follows_the_name(monkeypatch, tmp_path):
    """Normal chests have nothing; bacteria is one dense patch, virus a haze: never the same finding."""
    drawn = drawn_findings(monkeypatch, kermany, tmp_path, 60)
    by_series = defaultdict(set)
    for path, findings in drawn.items():
        by_series[_patient(path)[0]] |= findings
    assert not by_series["IM"] | by_series["NORMAL2-IM"]
    assert by_series["bacteria"] == {"Consolidation"}
    assert by_series["virus"] == {"Edema", "Lung Opacity"}


def test_pneumonia_is_learnable(tmp_path):
    """A linear model on 24 x 24 pixels ranks unseen images well above chance."""
    release = kermany.write_release(tmp_path, images=140, seed=3)
    assert linear_auroc({release / path: "PNEUMONIA" in path for path in _images(release)}) > 0.7
