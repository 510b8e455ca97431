"""GB7-FLG as its export lies on a disk, other clinics' pairs of folders, and what must not travel in shards."""

import os
from hashlib import sha256
from unicodedata import normalize

import pytest
from small_dicom import dicom_bytes, write
from small_runs import pack_into

from cxrfast import sources
from cxrfast.errors import SourceError
from cxrfast.shardset.shardset import ShardSet

NORMAL = "GB7/FLG/MD__20200424__norma/Undef"
PNEUMONIA = "GB7/FLG/MD__20190111-1231_pnevmoniya/Undef"
PNG = b"\x89PNG\r\n\x1a\n"


def make(root, *, normal=3, pneumonia=2, **elements):
    """Write an export of a few images, numbered with gaps; each its own patient unless `elements` say otherwise."""
    for number in range(normal + pneumonia):
        folder, place = (NORMAL, 2 * number + 1) if number < normal else (PNEUMONIA, number - normal + 1)
        own = {"PatientID": f"Иванов {number // 2}", "StudyInstanceUID": f"1.2.{number}", **elements}
        content = dicom_bytes(seed=number, PatientSex="FM"[number % 2], PatientAge=f"0{40 + number % 50}Y", **own)
        write(root / folder / f"IM_{place:05d}", content)


def scan(folder):
    return sources.find("gb7flg").scan(folder)


def hashed(identifier):
    return sha256(f"gb7flg/{identifier}".encode()).hexdigest()[:12]


def test_an_export_is_read(tmp_path):
    """Labels from folders, all else from headers; the same name in both folders is two images."""
    make(tmp_path, ViewPosition="PA")
    release = scan(tmp_path)
    table = release.table.set_index("path")
    assert (release.layout, release.findings, release.missing, release.unlisted) == ("GB7/FLG", [], [], [])
    assert sorted(table.index) == [
        *(f"{PNEUMONIA}/IM_{number:05d}" for number in (1, 2)), *(f"{NORMAL}/IM_{number:05d}" for number in (1, 3, 5)),
    ]  # fmt: skip
    first, second = table.loc[f"{NORMAL}/IM_00001"], table.loc[f"{PNEUMONIA}/IM_00001"]
    assert first["key"] == "gb7flg-MD__20200424__norma-Undef-IM_00001"
    assert second["key"] == "gb7flg-MD__20190111-1231_pnevmoniya-Undef-IM_00001"
    assert (first["sex"], first["age"], first["view_position"], first["projection"]) == ("F", 40, "PA", "frontal")
    assert (first["label.norma"], first["label.pnevmoniya"]) == (1, 0)
    assert (second["label.norma"], second["label.pnevmoniya"]) == (0, 1)
    assert table["release_split"].isna().all()


def test_no_name_and_no_number_travels(tmp_path):
    """Patient and study are 12 hex digits of a hash; no file of a packed set holds the id that the headers have."""
    make(tmp_path / "src")
    folder = pack_into(tmp_path / "shards", "gb7flg", tmp_path / "src")
    table = ShardSet.open(folder).table.set_index("path")
    assert table.loc[f"{NORMAL}/IM_00001", "patient"] == hashed("Иванов 0")
    assert table.loc[f"{NORMAL}/IM_00003", "patient"] == hashed("Иванов 0")
    assert table.loc[f"{PNEUMONIA}/IM_00002", "patient"] == hashed("Иванов 2")
    assert table.loc[f"{PNEUMONIA}/IM_00002", "study"] == hashed("1.2.4")
    for path in folder.iterdir():
        content = path.read_bytes()
        for form in ("Иванов".encode(), "Иванов".encode("cp1251"), "Иванов".encode("unicode_escape")):
            assert form not in content


@pytest.mark.parametrize(
    ("identifier", "finding"),
    [("Иванов", "the same patient id"), ("ANONYMOUS", "5 images have no patient id"), ("", "5 images have no patient")],
)
def test_a_constant_is_no_patient(tmp_path, identifier, finding):
    """An id that all images share would make one person of all, whom no split could part."""
    make(tmp_path, PatientID=identifier, StudyInstanceUID="1.2.3")
    release = scan(tmp_path)
    assert release.table["patient"].isna().all()
    assert release.table["study"].isna().all()
    assert finding in release.findings[0]
    assert "the same study id" in release.findings[1]


@pytest.mark.parametrize(("inside", "size"), [("", 5), ("GB7", 5), ("GB7/FLG", 5), (NORMAL.removesuffix("/Undef"), 3)])
def test_keys_do_not_know_where_src_is(tmp_path, inside, size):
    """From any folder above, or a class folder itself, an image has one key; an absent class is told of."""
    make(tmp_path)
    release = scan(tmp_path / inside)
    assert len(release.table) == size
    assert set(release.table["key"]) <= set(scan(tmp_path).table["key"])
    assert any("no image of the class pnevmoniya" in finding for finding in release.findings) == (size == 3)
    assert all((tmp_path / inside / path).is_file() for path in release.table["path"])


@pytest.mark.parametrize(
    ("normal", "pneumonia"),
    [
        ("normal", "pneumonia"), ("NORMAL", "PNEUMONIA"), ("norma 2020", "pnevmonia 2019"), ("норма", "пневмония"),
        ("Нормальные снимки", "Пневмонии, ноябрь"), ("01_Norma", "02_Pnevmoniya"), ("clinic/x/normal", "y/pneumonia"),
    ],
)  # fmt: skip
def test_other_pairs_of_folders_are_read(tmp_path, normal, pneumonia):
    """Latin or Cyrillic, with spaces, at any depth; DICOM, PNG and JPEG; the counts of these are not known."""
    write(tmp_path / normal / "снимок 1.png", PNG)
    write(tmp_path / normal / "deep er" / "a.JPG", b"\xff\xd8\xff")
    write(tmp_path / pneumonia / "снимок 1.png", PNG)
    write(tmp_path / pneumonia / "1.2.840.77", dicom_bytes(PatientID="7"))
    release = scan(tmp_path)
    table = release.table
    assert table["label.norma"].sum() == table["label.pnevmoniya"].sum() == 2
    assert table["key"].str.fullmatch(r"gb7flg-[A-Za-z0-9_-]{1,83}").all()
    assert table["patient"].notna().sum() == 1
    assert "3 images have no patient id" in release.findings[0]
    assert release.expected.images == {}


def test_keys_are_the_same_on_a_mac(tmp_path):
    """There й is written as two characters."""
    for form in ("NFC", "NFD"):
        write(tmp_path / form / normalize(form, "норма") / normalize(form, "Синий.png"), PNG)
    assert scan(tmp_path / "NFC").table["key"].tolist() == scan(tmp_path / "NFD").table["key"].tolist()


@pytest.mark.parametrize(
    "name",
    [
        "abnormal", "no pneumonia", "non-pneumonia", "без пневмонии", "norma and pnevmoniya", "normalised", "x",
        "pneumonia-free", "pneumonia negative", "pneumonia_0", "ex-pneumonia", "pneumonia absent", "rule out pneumonia",
        "healthy (pneumonia excluded)", "control_pneumonia", "un normal",
    ],
)  # fmt: skip
def test_folders_that_say_no_class_plainly_are_not_believed(tmp_path, name):
    """Their images are listed, and get no label."""
    make(tmp_path)
    write(tmp_path / "GB7" / "FLG" / name / "1.png", PNG)
    release = scan(tmp_path)
    assert release.unlisted == [f"GB7/FLG/{name}/1.png"]
    assert len(release.table) == 5


def test_other_sets_beside_it_are_not_its_own(tmp_path):
    """Kermany's NORMAL in the same folder is neither of a class here nor counted as left over."""
    make(tmp_path)
    write(tmp_path / "chest_xray" / "train" / "NORMAL" / "IM-0115-0001.jpeg", PNG)
    write(tmp_path / "other" / "readme.txt", b"no image")
    release = scan(tmp_path)
    assert len(release.table) == 5
    assert (release.unlisted, release.findings) == ([], [])


def test_a_folder_above_both_classes_is_of_neither(tmp_path):
    """`pneumonia study/` that holds both class folders does not label what lies beside them."""
    for number, name in enumerate(("normal", "normal", "pneumonia", "pneumonia", "pneumonia")):
        write(tmp_path / "pneumonia study" / "data" / name / f"{number}.png", PNG)
    write(tmp_path / "pneumonia study" / "figures" / "1.png", PNG)
    for inside, path in (("", "pneumonia study/figures/1.png"), ("pneumonia study", "figures/1.png")):
        release = scan(tmp_path / inside)
        assert release.unlisted == [path]
        assert len(release.table) == 5


def test_files_that_are_no_images_are_passed_over(tmp_path):
    """And told of; a broken image keeps its row, so that packing rejects it by name and reason."""
    make(tmp_path)
    dicomdir = bytes(128) + b"DICM" + b"\x02\0\x02\0UI\x14\x001.2.840.10008.1.3.10"
    for path in (f"{NORMAL}/DICOMDIR", f"{NORMAL}/Thumbs.db", f"{PNEUMONIA}/list.txt", "GB7/FLG/DICOMDIR"):
        write(tmp_path / path, dicomdir if path.endswith("DIR") else b"no image")
    for path in (f"{NORMAL}/IM_00100", f"{NORMAL}/IM_00101.dcm"):
        write(tmp_path / path, b"")
    release = scan(tmp_path)
    assert len(release.table) == 7
    assert [finding for finding in release.findings if "passed over" in finding] == [
        "4 files are no images of a class and are passed over, such as GB7/FLG/DICOMDIR"
    ]


def test_nested_copies_count_once(tmp_path):
    """A second copy of the whole is left out; another image of the same place and name is refused."""
    make(tmp_path)
    make(tmp_path / "GB7")
    release = scan(tmp_path)
    assert len(release.table) == 5
    assert "5 files are there more than once" in release.findings[0]
    assert not release.table["path"].str.startswith("GB7/GB7").any()
    first, again = (tmp_path / folder / NORMAL / "IM_00001" for folder in ("", "GB7"))
    write(again, first.read_bytes()[:-1] + b"\x0a")  # uncompressed images are all of one size
    os.utime(again, ns=(0, first.stat().st_mtime_ns))
    with pytest.raises(SourceError, match=r"two different files of one name, GB7/FLG/.*IM_00001 and GB7/GB7/FLG"):
        scan(tmp_path)


def test_a_wrong_folder_says_what_was_looked_for_and_found(tmp_path):
    """A folder of images alone has no classes; no folder at all is said to be none."""
    write(tmp_path / "images" / "IM_00001", dicom_bytes())
    with pytest.raises(SourceError, match=r"(?s)Looked for: images in folders.*There is: images/.*MD__20200424__norma"):
        scan(tmp_path)
    with pytest.raises(SourceError, match="is not a folder"):
        scan(tmp_path / "nowhere")


def test_the_release_of_127_images_is_complete(tmp_path):
    """99 normal and 28 with pneumonia, in no split."""
    make(tmp_path, normal=99, pneumonia=28)
    release = scan(tmp_path)
    table = release.table
    assert release.expected.images == {("none", "frontal"): len(table)}
    found = {("none", name): int(table[f"label.{name}"].sum()) for name in ("norma", "pnevmoniya")}
    assert release.expected.positives == found == {("none", "norma"): 99, ("none", "pnevmoniya"): 28}


def test_real_radiographs_laid_out_the_gb7_way(real_data, tmp_path):
    """Two DICOM files of one woman, without extension, as links: scanned, packed and asked for pneumonia."""
    for name, folder in (("RG1_UNCR.dcm", NORMAL), ("RG1_J2KI.dcm", PNEUMONIA)):
        (tmp_path / "src" / folder).mkdir(parents=True)
        (tmp_path / "src" / folder / "IM_00001").symlink_to(real_data / "dicom" / name)
    release = scan(tmp_path / "src")
    assert release.layout == "GB7/FLG"
    assert (release.table["view_position"] == "PA").all()
    assert (release.table["sex"] == "F").all()
    shards = ShardSet.open(pack_into(tmp_path / "shards", "gb7flg", tmp_path / "src"))
    assert sorted(shards.task("pneumonia").labels[:, 0]) == [0, 1]
    assert set(shards.table["source_width"]) == {1841}


def test_a_pipe_among_the_images_is_passed_over(tmp_path):
    """Nothing waits for it."""
    make(tmp_path)
    os.mkfifo(tmp_path / NORMAL / "pipe")
    release = scan(tmp_path)
    assert len(release.table) == 5
    assert any("1 files are no images" in finding for finding in release.findings)
