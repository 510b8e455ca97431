"""Sheets grow with what is on them, show pixels as they are, and hold all text inside their edges."""

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from cxrfast.evaluation import sheets
from cxrfast.evaluation.sheets import Captioned, contact_sheet, label_distribution, view_sheet
from cxrfast.labels import CHEXPERT

LONG = "patient64540-study12-view3_frontal-and-then-some-more-of-a-key-that-has-ninety-characters"


@pytest.fixture(autouse=True)
def no_overlap(monkeypatch):
    """On every figure that a test draws, no text leaves the figure or lies over another text."""

    def checked(figure, path):
        figure.draw_without_rendering()
        renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
        texts = [text for text in figure.findobj(sheets_text) if text.get_visible() and text.get_text()]
        boxes = [text.get_window_extent(renderer) for text in texts]
        edge = figure.bbox
        for text, box in zip(texts, boxes, strict=True):
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= edge.x1 + 1 and box.y1 <= edge.y1 + 1
            assert inside, f"{text.get_text()!r} leaves the sheet"
        for number, box in enumerate(boxes):
            for other in range(number):
                over = box.padded(-2).overlaps(boxes[other].padded(-2))
                assert not over, f"{texts[number].get_text()!r} lies over {texts[other].get_text()!r}"
        return save(figure, path)

    from matplotlib.text import Text as sheets_text  # noqa: N813

    save = sheets.save_figure
    monkeypatch.setattr(sheets, "save_figure", checked)


def image(height, width, value=90):
    return np.full((height, width), value, dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2, 6, 7, 30])
def test_contact_sheet_has_a_cell_an_image(tmp_path, count):
    """Any number of images and any caption fits; rows are added, not squeezed."""
    images = [
        Captioned(image(40 + number, 90), LONG, ("train, frontal", ", ".join(CHEXPERT))) for number in range(count)
    ]
    height, width = cv2.imread(str(contact_sheet(images, tmp_path / "a.png", title="chexpert: some images"))).shape[:2]
    assert width <= 6 * (1.5 + 0.12) * 200 + 60
    assert height > -(-count // 6) * 1.5 * 200


@pytest.mark.parametrize(("height", "width"), [(100, 100), (50, 200), (300, 30)])
def test_images_keep_their_aspect_and_their_gray(tmp_path, height, width):
    """A cell shows the whole image in its own proportions; black is black, white is white, whatever is in between."""
    gray = image(height, width)
    gray[: height // 2] = 0
    gray[height // 2 :, : width // 2] = 255
    sheet = cv2.imread(str(contact_sheet([Captioned(gray, "key")], tmp_path / "a.png", title="t")), cv2.IMREAD_COLOR)
    side = round(1.5 * 200)
    left, top = round(0.15 * 200), round(0.42 * 200)
    cell = sheet[top : top + side, left : left + side].astype(int)
    scale = side / max(height, width)
    shown = int((cell.max(axis=2) == 0).sum())
    assert shown == pytest.approx((height // 2) * width * scale**2, rel=0.06)
    assert (cell.min(axis=2) == 255).sum() == pytest.approx((height - height // 2) * (width // 2) * scale**2, rel=0.06)


def test_view_sheet_has_a_column_a_draw(tmp_path):
    """Views with one draw and with several stand beside each other, and one of them alone is drawn too."""
    rows = [(LONG, image(60, 40), [[image(64, 64)], [image(64, 64)] * 3]) for _ in range(2)]
    path = view_sheet(rows, tmp_path / "a.png", names=("plain", "paper"), title="chexpert: views")
    wide = cv2.imread(str(path)).shape[1]
    rows = [(caption, stored, draws[:1]) for caption, stored, draws in rows]
    assert cv2.imread(str(view_sheet(rows, path, names=("plain",), title="c"))).shape[1] < wide


@pytest.mark.parametrize("rare", [None, 25_000])
def test_label_distribution_of_any_size(tmp_path, rare):
    """Fourteen classes of 223,414 images and one class of none come out alike."""
    rng = np.random.default_rng(0)
    counts = pd.DataFrame({value: rng.integers(0, 60_000, 14) for value in sheets.VALUES}, index=list(CHEXPERT))
    path = label_distribution(counts, tmp_path / "a.png", title="chexpert: labels of 223,414 images", rare=rare)
    assert path.stat().st_size > 10_000
    label_distribution(counts.iloc[:1] * 0, tmp_path / "b.png", title="none")


def test_the_most_frequent_class_comes_first(tmp_path, monkeypatch):
    """Classes stand by their positives, uncertain ones counted among them as the study does."""
    counts = pd.DataFrame({"positive": [5, 6, 0], "uncertain": [3, 0, 9], "negative": 1, "blank": 1}, index=list("ABC"))
    drawn: list[Figure] = []
    monkeypatch.setattr(sheets, "save_figure", lambda figure, path: drawn.append(figure) or path)
    label_distribution(counts, tmp_path / "a.png", title="t")
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == ["C", "A", "B"]
