"""Faults are put into real files of a packed set; each must be found where it is."""

import json
import shutil
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from small_releases import NAME, contents, write_release

from cxrfast import chance
from cxrfast.errors import ImageRejected, ShardSetError
from cxrfast.loading.decode import UndecodableError, decode
from cxrfast.packing.recipe import Recipe
from cxrfast.packing.run import pack
from cxrfast.packing.verify import verify
from cxrfast.shardset import format as layout
from cxrfast.shardset.manifest import read_manifest, write_manifest

FLIPS = 300


def size_of(payload):
    try:
        height, width = decode(payload).shape
    except UndecodableError as error:
        raise ImageRejected("not-an-image", str(error)) from error
    return width, height


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Return a set of three shards, with a reject, that tests must not change."""
    folder = tmp_path_factory.mktemp("verify")
    release = write_release(folder / "src", 40)
    (folder / "src" / release.table["path"].iloc[7]).write_bytes(b"")
    pack(
        release,
        folder / "src",
        folder / "set",
        recipe=Recipe(NAME, long_side=48, samples_per_shard=16),
        workers=1,
        max_rejects=5,
    )
    return folder / "set"


@pytest.fixture
def copy(packed, tmp_path):
    """Return a copy of the set to damage."""
    return shutil.copytree(packed, tmp_path / "set")


def found(*folders, **settings):
    return verify(folders, workers=1, **settings).findings


def record_anew(folder, name):
    """Write a file's true size and SHA-256 into shardset.json, as a tool that rebuilds things wrongly would."""
    path = folder / layout.COMMIT_FILE
    record = json.loads(path.read_bytes())
    content = (folder / name).read_bytes()
    record["files"][name] = {"size": len(content), "sha256": sha256(content).hexdigest()}
    path.write_bytes(layout.readable_json(record))


def sample_at(folder, shard, offset):
    """Return the key of the sample that holds a byte of a tar, or None for its end."""
    rows = read_manifest(folder / layout.MANIFEST_FILE).query("shard == @shard")
    inside = rows[(rows["sample_offset"] <= offset) & (offset < rows["sample_offset"] + rows["sample_nbytes"])]
    return None if inside.empty else inside["key"].iloc[0]


@pytest.mark.parametrize("codec", ["jpeg", "png", "raw"])
def test_a_whole_set_has_no_findings(codec, tmp_path):
    """Nothing is wrong with what packing wrote, whatever the codec; all images decode, and are counted."""
    release = write_release(tmp_path / "src", 10)
    recipe = Recipe(NAME, long_side=48, samples_per_shard=4, codec=codec)
    pack(release, tmp_path / "src", tmp_path / "set", recipe=recipe, workers=1)
    result = verify([tmp_path / "set"], decode=size_of)
    assert result.findings == result.notes == []
    assert (result.images, result.shards) == (10, 3)
    sizes = (
        sum(path.stat().st_size for path in (tmp_path / "set").glob("*.[!i]*"))
        - (tmp_path / "set" / layout.COMMIT_FILE).stat().st_size
    )
    assert result.nbytes == sizes


def test_a_flipped_bit_anywhere_is_found(copy):
    """Over all files, hundreds of drawn bits: each is found; in a tar, its shard, its key and a range that covers it.

    A single bit is placed to the byte, in headers, images, JSON, padding and the tar's end alike.
    """
    files = sorted(path for path in copy.iterdir())
    sizes = np.array([path.stat().st_size for path in files])
    # Half over all bytes, where tars win; half over the files, so that small ones are hit as often as large ones.
    for number in range(FLIPS):
        which = int(chance.integers(len(files), "flip file", number))
        if number % 2:
            which = int(
                np.searchsorted(np.cumsum(sizes), chance.integers(int(sizes.sum()), "flip byte", number), "right")
            )
        at = int(chance.integers(int(sizes[which]), "flip at", number))
        bit = int(chance.integers(8, "flip bit", number))
        check_flip(copy, files[which], at, bit)


def check_flip(folder, path, at, bit):
    before = path.read_bytes()
    damaged = bytearray(before)
    damaged[at] ^= 1 << bit
    path.write_bytes(damaged)
    findings = found(folder)
    path.write_bytes(before)
    where = f"bit {bit} of byte {at} of {path.name}: {findings}"
    assert findings, where
    if path.suffix not in (".tar", ".idx"):
        return
    shard = int(path.stem[-5:])
    assert {(finding.file, finding.shard) for finding in findings} == {(path.name, shard)}, where
    if path.suffix == ".tar":
        (finding,) = findings
        assert finding.key == sample_at(folder, shard, at), where
        assert (finding.offset, finding.nbytes) == (at, 1), where
    else:
        assert findings[0].offset == at, where


def test_the_end_of_a_tar_and_its_padding_are_watched(packed, copy):
    """The bytes that no image needs are checked like all others."""
    tar = copy / f"{NAME}-00001.tar"
    size = tar.stat().st_size
    row = read_manifest(copy / layout.MANIFEST_FILE).query("shard == 1").iloc[0]
    for at in (size - 1, size - 1024, int(row.offset + row.nbytes), 511):
        check_flip(copy, tar, at, 0)
    assert contents(copy) == contents(packed)


def test_a_tar_cut_anywhere_is_found(copy):
    """At drawn lengths, from nothing to all but a byte: the file, its shard and the place of the cut are named."""
    tar = copy / f"{NAME}-00000.tar"
    whole = tar.read_bytes()
    for length in {0, 1, 511, 512, len(whole) - 1, *chance.integers(len(whole), "cut", np.arange(20)).tolist()}:
        tar.write_bytes(whole[:length])
        (finding,) = found(copy)
        assert (finding.file, finding.shard, finding.offset) == (tar.name, 0, length)
        assert finding.key == sample_at(copy, 0, length)


@pytest.mark.parametrize(
    "name", [f"{NAME}-00002.tar", f"{NAME}-00001.idx", "manifest.parquet", "plan.json", "rejected.csv"]
)
@pytest.mark.parametrize("added", [b"\0", bytes(1024), b"\n", b"rubbish"])
def test_bytes_after_the_end_are_found(copy, name, added):
    """A file that has grown is not what was packed, zeros or not."""
    size = (copy / name).stat().st_size
    with (copy / name).open("ab") as file:
        file.write(added)
    findings = found(copy)
    assert (name, size) in {(finding.file, finding.offset) for finding in findings}
    assert {finding.file for finding in findings} <= {name, layout.COMMIT_FILE}


def test_any_file_that_is_gone_is_found(copy):
    """Each of the set's files in turn, shardset.json too."""
    for path in sorted(copy.iterdir()):
        content = path.read_bytes()
        path.unlink()
        assert ("missing", path.name) in {(finding.kind, finding.file) for finding in found(copy)}
        path.write_bytes(content)
    assert found(copy) == []


def test_a_renamed_file_is_missing_and_extra(copy):
    """Under a name that nobody listed a file is as good as lost."""
    (copy / f"{NAME}-00001.tar").rename(copy / f"{NAME}-00009.tar")
    assert [(finding.kind, finding.file, finding.shard) for finding in found(copy)] == [
        ("extra", f"{NAME}-00009.tar", 9),
        ("missing", f"{NAME}-00001.tar", 1),
    ]


def test_extra_files_are_found_and_hidden_ones_are_not(copy):
    """What the system puts there (.DS_Store, .nfs...) is no fault; a folder or a file of somebody's is."""
    (copy / ".DS_Store").touch()
    (copy / "notes.txt").touch()
    (copy / "more").mkdir()
    (copy / ".packing").mkdir()
    result = verify([copy])
    assert [(finding.kind, finding.file) for finding in result.findings] == [("extra", "more"), ("extra", "notes.txt")]
    assert [note.kind for note in result.notes] == ["left-over"]


def test_swapped_tars_are_told_from_damage(tmp_path):
    """Two tars of the same size under each other's names: each is said to hold the other."""
    release = write_release(tmp_path / "src", 8)
    out = tmp_path / "set"
    pack(release, tmp_path / "src", out, recipe=Recipe(NAME, codec="raw", long_side=16, samples_per_shard=4), workers=1)
    first, second = (out / f"{NAME}-0000{shard}.tar" for shard in (0, 1))
    held = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(held)
    messages = {finding.file: finding.message for finding in found(out)}
    assert messages == {
        first.name: f"it holds what belongs into {second.name}",
        second.name: f"it holds what belongs into {first.name}",
    }


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("offset", 512), ("nbytes", -1), ("crc32", 1), ("sample_offset", 512), ("sample_nbytes", 512),
        ("sample_crc32", 1), ("width", 1), ("source_height", 1), ("age", 1), ("label.Edema", 1),
    ],
)  # fmt: skip
def test_a_manifest_that_was_rebuilt_wrongly_is_found(copy, column, change):
    """Its SHA-256 is the recorded one, and a row is wrong all the same: key and shard are named, and what differs."""
    path = copy / layout.MANIFEST_FILE
    table = read_manifest(path)
    row = int(np.flatnonzero(table[column].notna())[9])
    table[column] = table[column].where(table.index != row, table[column] + change).astype(table[column].dtype)
    write_manifest(table, path)
    record_anew(copy, path.name)
    (finding,) = found(copy)
    assert (finding.kind, finding.file) == ("manifest", path.name)
    assert (finding.key, finding.shard) == (table["key"].iloc[row], table["shard"].iloc[row])
    assert f"{column} is" in finding.message


@pytest.mark.parametrize("fault", ["a row less", "a row twice", "two rows in turn", "another key", "another patient"])
def test_rows_of_a_manifest_that_are_wrong_are_found(copy, fault):
    """Rows left out, doubled, turned round or renamed, each under a right SHA-256."""
    path = copy / layout.MANIFEST_FILE
    table = read_manifest(path)
    if fault == "a row less":
        table = table.drop(index=5)
    elif fault == "a row twice":
        table = pd.concat([table, table.iloc[[5]]])
    elif fault == "two rows in turn":
        table = table.iloc[[1, 0, *range(2, len(table))]]
    elif fault == "another key":
        table.loc[5, "key"] = f"{NAME}-nobody"
    else:
        table.loc[5, "patient"] = "nobody"
    write_manifest(table, path)
    record_anew(copy, path.name)
    assert ("manifest", path.name) in {(finding.kind, finding.file) for finding in found(copy)}


def test_an_index_that_was_rebuilt_wrongly_is_found(copy):
    """An offset that points beside an image, under a right SHA-256: the line's key and byte are named."""
    path = copy / f"{NAME}-00001.idx"
    lines = path.read_text().splitlines(keepends=True)
    fields = lines[3].split(" ")
    lines[3] = " ".join([fields[0], str(int(fields[1]) + 512), *fields[2:]])
    path.write_text("".join(lines))
    record_anew(copy, path.name)
    (finding,) = found(copy)
    assert (finding.kind, finding.file, finding.shard) == ("index", path.name, 1)
    assert finding.key == fields[3].rpartition(".")[0]
    assert len("".join(lines[:3])) < finding.offset < len("".join(lines[:4]))


@pytest.mark.parametrize("name", ["plan.json", "rejected.csv", "manifest.parquet", "shardset.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"{}", b"null", b'{"files": 3}', b"\xff\xfe", b"PAR1" * 9, b"9" * 99, b"[" * 100_000],
)
def test_files_of_nonsense_are_findings(copy, name, content):
    """Whatever stands in a file, it is a finding in that file and never a traceback."""
    (copy / name).write_bytes(content)
    assert name in {finding.file for finding in found(copy)}


@pytest.mark.parametrize("value", ["\ud800", float("nan")])
@pytest.mark.parametrize("field", ["name", "plan", "labels", "counts"])
def test_what_no_text_can_hold_is_a_finding(copy, field, value):
    """Half a character or NaN anywhere in shardset.json is damage, and is said so."""
    path = copy / layout.COMMIT_FILE
    record = json.loads(path.read_bytes())
    record[field] = {"images": value} if field == "counts" else [value] if field == "labels" else value
    path.write_text(json.dumps(record))
    (finding, *_) = found(copy)
    assert (finding.kind, finding.file) == ("record", path.name)


@pytest.mark.parametrize(
    "content",
    [
        b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, {"missing": 5}, {"missing": [[1]]}, {"packages": [1]},
        {"recipe": {}},
    ],
)  # fmt: skip
def test_a_plan_that_is_none_is_found_under_its_recorded_checksum(copy, content):
    """What was sealed after another program had scribbled on it is no plan, whatever shardset.json says."""
    path = copy / layout.PLAN_FILE
    if isinstance(content, dict):
        content = layout.readable_json(json.loads(path.read_bytes()) | content)
    path.write_bytes(content)
    record_anew(copy, path.name)
    record = json.loads((copy / layout.COMMIT_FILE).read_bytes())
    record["plan"] = sha256(content).hexdigest()
    (copy / layout.COMMIT_FILE).write_bytes(layout.readable_json(record))
    (finding,) = found(copy)
    assert (finding.kind, finding.file) == ("plan", path.name)


def test_every_field_of_shardset_json_is_held_to_something(copy):
    """Each value in turn is changed or left out, in packing's own layout: every change is a finding."""
    path = copy / layout.COMMIT_FILE
    whole = path.read_bytes()
    for place in list(places(json.loads(whole))):
        for change in (altered, left_out):
            record = json.loads(whole)
            change(record, place)
            path.write_bytes(layout.readable_json(record))
            assert found(copy), place


def places(node, path=()):
    """Yield the path of each value in a JSON document."""
    if path:
        yield path
    if isinstance(node, (dict, list)):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from places(value, (*path, name))


def altered(record, place):
    *path, last = place
    for name in path:
        record = record[name]
    value = record[last]
    others = {int: lambda: value + 1, str: lambda: value + "x", list: lambda: [*value, "x"], dict: lambda: {"x": 1}}
    record[last] = others[type(value)]()


def left_out(record, place):
    *path, last = place
    for name in path:
        record = record[name]
    del record[last]


def test_decoding_finds_what_checksums_cannot(copy):
    """A tar, manifest and record that agree on bytes that are no image, or of another size, are found by decoding."""
    tar = copy / f"{NAME}-00000.tar"
    table = read_manifest(copy / layout.MANIFEST_FILE)
    row = table[table["shard"] == 0].iloc[2]
    assert found(copy, decode=size_of) == []

    def refuse(payload):
        raise ImageRejected("not-an-image", "no image at all")

    findings = found(copy, decode=refuse)
    assert len(findings) == len(table)
    assert {finding.kind for finding in findings} == {"decode"}
    wide = [finding for finding in found(copy, decode=lambda payload: (5, 5)) if finding.file == tar.name]
    assert f"5 x 5 pixels, in the manifest {row.width} x {row.height}" in next(
        finding.message for finding in wide if finding.key == row.key
    )


def test_images_with_the_same_bytes_are_a_note(copy, tmp_path):
    """Inside a set and across sets, confirmed by reading; a set that holds copies is whole."""
    release = write_release(tmp_path / "src", 6)
    paths = [tmp_path / "src" / path for path in release.table["path"]]
    paths[5].write_bytes(paths[1].read_bytes())
    pack(release, tmp_path / "src", tmp_path / "other", recipe=Recipe(NAME, long_side=48), workers=1)
    result = verify([copy, tmp_path / "other"])
    assert result.findings == []
    groups = [set(note.images) for note in result.notes]
    other, first = str(tmp_path / "other"), str(copy)
    assert {(other, f"{NAME}-view1"), (other, f"{NAME}-view5"), (first, f"{NAME}-view1")} in groups
    assert len(groups) == 5


@pytest.mark.parametrize("there", ["nothing", "a file", "an empty folder", "an unfinished set"])
def test_what_is_no_set_is_the_users_mistake(packed, tmp_path, there):
    """A folder that was never a finished set is refused in words, not reported as damage."""
    folder = tmp_path / "set"
    if there == "a file":
        folder.touch()
    elif there != "nothing":
        folder.mkdir()
    if there == "an unfinished set":
        shutil.copy(packed / "plan.json", folder)
    with pytest.raises(ShardSetError, match="set"):
        verify([folder])
