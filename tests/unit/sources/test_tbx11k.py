"""TBX11K in every layout that people have, and its traps."""

import json
import shutil

import pytest

from cxrfast import sources
from cxrfast.errors import SourceError
from cxrfast.labels import VOCABULARIES

LABELS = VOCABULARIES["tbx11k"]
ACTIVE, LATENT, UNCERTAIN = LABELS[3:]
# Gaps in the numbering are normal. The boxes' kinds by image; tb1199 has none.
TRAIN = ["health/h0001.png", "sick/s0007.png", "tb/tb0005.png", "tb/tb0007.png", "tb/tb1199.png"]
VAL = ["health/h0003.png", "tb/tb0009.png"]
TEST = ["test/test_0001.png", "test/test_0004.png"]
EXTRA = ["extra/da+db/train/n11.png", "extra/da+db/val/px1.jpg", "extra/mc+shenzhen/test/MCUCXR_0001_0.png"]
BOXES = {"tb/tb0005.png": [ACTIVE], "tb/tb0007.png": [LATENT, LATENT], "tb/tb0009.png": [ACTIVE, UNCERTAIN]}


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def coco(images):
    """Return a COCO file's text: boxes of these images, categories numbered from 1."""
    boxes = [(number, kind) for number, image in enumerate(images) for kind in BOXES.get(image, [])]
    return json.dumps(
        {
            "categories": [{"id": number + 1, "name": kind} for number, kind in enumerate(LABELS[3:])],
            "images": [{"id": number, "file_name": image} for number, image in enumerate(images)],
            "annotations": [
                {"image_id": number, "category_id": LABELS[3:].index(kind) + 1, "bbox": [1.5, 2, 3, 4]}
                for number, kind in boxes
            ],
        }
    )


def voc(stem, kinds):
    objects = "".join(f"<object><name>{kind}</name><bndbox><xmin>1</xmin></bndbox></object>" for kind in kinds)
    return f"<annotation><filename>{stem}</filename><size><width>2840</width></size>{objects}</annotation>"


def make(folder, *, annotations=("json", "xml")):
    """Write the release into `folder`, boxes in the forms named."""
    for image in [*TRAIN, *VAL, *TEST, *EXTRA]:
        write(folder / "imgs" / image)
    lists = {
        "TBX11K_train": TRAIN, "TBX11K_val": VAL, "TBX11K_trainval": TRAIN + VAL,
        "all_train": TRAIN + EXTRA[:1], "all_val": VAL + EXTRA[1:2], "all_trainval": TRAIN + VAL + EXTRA[:2],
        "all_test": TEST + EXTRA[2:],
    }  # fmt: skip
    for name, images in lists.items():
        write(folder / "lists" / f"{name}.txt", "\n".join(images))
    if "json" in annotations:
        for name in ("TBX11K_train", "TBX11K_val", "all_train", "all_test"):
            write(folder / "annotations" / "json" / f"{name}.json", coco(lists[name]))
    if "xml" in annotations:
        for image, kinds in BOXES.items():
            stem = image.partition("/")[2].removesuffix(".png")
            write(folder / "annotations" / "xml" / f"{stem}.xml", voc(stem, kinds))


def scan(folder):
    return sources.find("tbx11k").scan(folder)


def column(table, name):
    """Return a column as a dict from what follows `tbx11k-` in the key, blank as 9."""
    keys = table["key"].str.removeprefix("tbx11k-")
    return dict(zip(keys, table[name].astype(object).fillna(9), strict=True))


@pytest.mark.parametrize(
    ("place", "inside"), [("TBX11K", ""), ("TBX11K", "TBX11K"), ("архив", "архив"), ("a/b/c", ""), ("", "")]
)
def test_every_place_gives_the_same_table(place, inside, tmp_path):
    """The release itself under any name, or a folder above it: all columns but `path` are equal, each path exists."""
    make(tmp_path / "reference" / "TBX11K")
    reference = scan(tmp_path / "reference")
    make(tmp_path / "root" / place)
    release = scan(tmp_path / "root" / inside)
    assert all((tmp_path / "root" / inside / path).is_file() for path in release.table["path"])
    assert release.table.drop(columns="path").equals(reference.table.drop(columns="path"))
    assert release.missing == release.unlisted == []
    assert release.layout == "TBX11K, lists, annotations in json"


def test_split_projection_and_class_come_from_lists_and_folders(tmp_path):
    """Classes are 1 or 0 where labels are released, blank in test; every image is its own patient."""
    make(tmp_path)
    table = scan(tmp_path).table
    split = column(table, "release_split")
    assert split["health-h0001"] == split["tb-tb1199"] == "train"
    assert split["health-h0003"] == split["tb-tb0009"] == "val"
    assert split["test-test_0001"] == split["test-test_0004"] == "test"
    assert len(table) == 9
    assert set(table["projection"]) == {"frontal"}
    assert table["patient"].isna().all()
    for label, folder in [("health", "health"), ("sick", "sick"), ("tb", "tb")]:
        for name, value in column(table, f"label.{label}").items():
            assert value == (9 if name.startswith("test") else float(name.startswith(f"{folder}-")))


@pytest.mark.parametrize("annotations", [("json", "xml"), ("json",), ("xml",), ()])
def test_kinds_of_tuberculosis_come_from_boxes(annotations, tmp_path):
    """1 or 0 for images that annotations name; blank in test, where none names the image, or has no box to tell."""
    make(tmp_path, annotations=annotations)
    release = scan(tmp_path)
    kinds = {name: [column(release.table, f"label.{kind}")[name] for kind in LABELS[3:]] for name in
             ("health-h0001", "tb-tb0005", "tb-tb0007", "tb-tb0009", "tb-tb1199", "test-test_0001")}  # fmt: skip
    boxed = {"tb-tb0005": [1, 0, 0], "tb-tb0007": [0, 1, 0], "tb-tb0009": [1, 0, 1]}
    blank = [9, 9, 9]
    assert kinds == {
        "health-h0001": [0, 0, 0] if "json" in annotations else blank,
        **(boxed if annotations else dict.fromkeys(boxed, blank)),
        "tb-tb1199": blank,
        "test-test_0001": blank,
    }
    number = 1 if annotations else 4
    assert any(f"{number} images of tuberculosis have no annotated box" in finding for finding in release.findings)


def test_images_of_other_sets_are_left_out_and_counted(tmp_path):
    """Also where lists and annotations name them."""
    make(tmp_path)
    release = scan(tmp_path)
    assert not release.table["path"].str.contains("extra").any()
    assert any(finding.startswith("3 images of other sets") for finding in release.findings)


def test_lists_survive_other_systems(tmp_path):
    """Backslashes, carriage returns, blank lines, a byte order mark, and a folder before the path."""
    make(tmp_path / "a")
    make(tmp_path / "b")
    for path in (tmp_path / "b" / "lists").iterdir():
        lines = [f"imgs\\{line}".replace("/", "\\") for line in path.read_text().splitlines()]
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode() + b"\r\n")
    a, b = scan(tmp_path / "a"), scan(tmp_path / "b")
    assert b.table.equals(a.table)
    assert b.missing == a.missing == []


def test_missing_and_unlisted_files_are_named(tmp_path):
    """A listed image without a file keeps its row, with label and split; an image in a strange folder is listed."""
    make(tmp_path / "TBX11K")
    (tmp_path / "TBX11K/imgs/tb/tb0005.png").unlink()
    write(tmp_path / "TBX11K/imgs/more/x.png")
    release = scan(tmp_path)
    assert release.missing == ["TBX11K/imgs/tb/tb0005.png"]
    assert release.unlisted == ["TBX11K/imgs/more/x.png"]
    row = release.table.set_index("key").loc["tbx11k-tb-tb0005"]
    assert (row["path"], row["release_split"], row["label.tb"]) == ("TBX11K/imgs/tb/tb0005.png", "train", 1)


def test_a_labelled_image_in_no_list_has_no_split(tmp_path):
    """It is told of; without any list that is so for all."""
    make(tmp_path)
    write(tmp_path / "imgs/sick/s0009.png")
    release = scan(tmp_path)
    assert column(release.table, "release_split")["sick-s0009"] == 9
    assert "1 images are in no list of train or val, such as imgs/sick/s0009.png" in release.findings
    assert sum(release.expected.images.values()) == 6600 + 1800 + 3302
    shutil.rmtree(tmp_path / "lists")
    release = scan(tmp_path)
    assert release.table["release_split"].fillna("none").value_counts().to_dict() == {"none": 8, "test": 2}
    assert release.expected.images["none", "frontal"] == 3800 + 3800 + 800
    assert any("there is no lists/" in finding for finding in release.findings)


def test_an_image_in_both_lists_is_kept_from_training(tmp_path):
    """It counts as val, and is told of."""
    make(tmp_path)
    write(tmp_path / "lists" / "TBX11K_val.txt", "\n".join([*VAL, TRAIN[0]]))
    release = scan(tmp_path)
    assert column(release.table, "release_split")["health-h0001"] == "val"
    assert any("1 images are in lists of train and of val" in finding for finding in release.findings)


def test_copies_count_once(tmp_path):
    """A nested copy of the release, whole: the least deep is taken."""
    make(tmp_path / "TBX11K")
    make(tmp_path / "TBX11K" / "TBX11K")
    release = scan(tmp_path)
    assert len(release.table) == 9
    assert release.table["path"].str.startswith("TBX11K/imgs/").all()
    assert any(finding.startswith("9 files repeat an image") for finding in release.findings)
    assert any(finding.startswith("3 images of other sets") for finding in release.findings)


@pytest.mark.parametrize("text", ["", "[]", '{"images": [{}]}', '{"images": [1]}', "[" * 100_000, "\ud800"])
def test_json_that_is_no_annotation_is_refused(text, tmp_path):
    """Cut, of another form, or endlessly deep: one error that names the file."""
    make(tmp_path)
    path = tmp_path / "annotations" / "json" / "TBX11K_val.json"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(SourceError, match=r"TBX11K_val\.json cannot be read as annotations"):
        scan(tmp_path)


BOMB = '<!DOCTYPE a [<!ENTITY x "{}">{}]><annotation><filename>&y9;</filename></annotation>'.format(
    "x" * 100, "".join(f'<!ENTITY y{n} "{f"&y{n - 1};" * 10 if n else "&x;" * 10}">' for n in range(10))
)


@pytest.mark.parametrize(
    "text", ["", "<annotation>", BOMB, '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "<!DOCTYPE a><a/>"]
)
def test_xml_that_is_no_annotation_is_refused(text, tmp_path):
    """Cut, or with a document type, whose entities could fill the memory or read other files."""
    make(tmp_path, annotations=["xml"])
    write(tmp_path / "annotations" / "xml" / "tb0005.xml", text)
    with pytest.raises(SourceError, match=r"tb0005\.xml cannot be read as annotations"):
        scan(tmp_path)


@pytest.mark.parametrize("form", ["json", "xml"])
def test_a_box_of_an_unknown_kind_is_refused(form, tmp_path):
    """Rather than left out in silence."""
    make(tmp_path, annotations=[form])
    path = next((tmp_path / "annotations" / form).glob("*t*0005.xml" if form == "xml" else "TBX11K_train.json"))
    path.write_text(path.read_text().replace(ACTIVE, "Silicosis"))
    with pytest.raises(SourceError, match=rf"{path.name}: \S*tb0005\S* has a box of 'Silicosis'; known: Active"):
        scan(tmp_path)


def test_a_wrong_folder_says_what_was_looked_for_and_found(tmp_path):
    """And how it should look; a test folder alone is no release."""
    write(tmp_path / "imgs" / "test" / "a.png")
    with pytest.raises(SourceError, match=r"(?s)Looked for: imgs/health.*There is: imgs/.*h0001\.png"):
        scan(tmp_path)
    with pytest.raises(SourceError, match="is not a folder"):
        scan(tmp_path / "nowhere")
