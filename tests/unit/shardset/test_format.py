import io
import json
import subprocess
import tarfile
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrfast.shardset import format as layout

KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,90}", fullmatch=True)
VALUES = st.one_of(st.none(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False), st.text())
DOCUMENTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=4)
PAYLOADS = st.one_of(st.binary(max_size=40), st.sampled_from([511, 512, 513, 1024]).map(bytes))
SAMPLES = st.lists(
    st.tuples(KEYS, st.sampled_from(["jpg", "png", "npy"]), PAYLOADS, DOCUMENTS), max_size=5, unique_by=lambda s: s[0]
)


def archive(samples):
    """Return a tar of samples, and each with its place in it."""
    blob, placed = b"", []
    for sample in samples:
        stored = layout.sample_bytes(*sample)
        placed.append((stored, len(blob)))
        blob += stored.blob
    return blob + layout.ARCHIVE_END, placed


@given(SAMPLES)
@settings(max_examples=60, deadline=None)
def test_standard_tarfile_reads_back_what_was_written(samples):
    """Members come back with their names, bytes, mode 0644, time 0 and owner 0, from a plain ustar archive."""
    content, _ = archive(samples)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    assert len(members) == 2 * len(samples)
    for (key, ext, payload, document), image, text in zip(samples, members[::2], members[1::2], strict=True):
        assert (image[0].name, image[1]) == (f"{key}.{ext}", payload)
        assert text[0].name == f"{key}.json"
        assert json.loads(text[1]) == document
        for member in (image[0], text[0]):
            assert (member.mode, member.mtime, member.uid, member.gid) == (0o644, 0, 0, 0)
            assert (member.uname, member.gname, member.type, member.pax_headers) == ("", "", tarfile.REGTYPE, {})


@given(SAMPLES)
@settings(max_examples=60, deadline=None)
def test_offsets_and_checksums_point_at_the_bytes(samples):
    """Each offset, length and CRC-32 of a sample describes exactly the bytes that the archive holds there."""
    content, placed = archive(samples)
    for (stored, start), (_, _, payload, document) in zip(placed, samples, strict=True):
        at = start + stored.payload_offset
        assert content[at : at + stored.payload_nbytes] == payload
        at = start + stored.document_offset
        assert content[at : at + stored.document_nbytes] == layout.canonical_json(document)
        whole = content[start : start + len(stored.blob)]
        assert (crc32(payload), crc32(whole)) == (stored.crc32, stored.sample_crc32)
        assert len(whole) % layout.BLOCK == 0


def test_index_is_what_dalis_own_tool_writes(tmp_path):
    """The index of an archive equals, byte for byte, the one that DALI's wds2idx makes of it."""
    wds2idx = pytest.importorskip("wds2idx", reason="needs DALI")
    samples = [(f"set-{n}_x" + "y" * (n * 28), "jpg", bytes(n * 300), {"n": n, "text": "é"}) for n in range(4)]
    content, placed = archive(samples)
    (tmp_path / "a.tar").write_bytes(content)
    with wds2idx.IndexCreator(str(tmp_path / "a.tar"), str(tmp_path / "a.idx"), verbose=False) as creator:
        creator.create_index()
    ours = layout.index_bytes([layout.index_line(stored, start) for stored, start in placed])
    assert (tmp_path / "a.idx").read_bytes() == ours


def test_gnu_tar_lists_without_complaint(tmp_path):
    """GNU tar reads the archive to its end and has nothing to say about it."""
    content, _ = archive([("a", "jpg", b"x" * 700, {}), ("b" * 90, "png", b"", {"k": None})])
    (tmp_path / "a.tar").write_bytes(content)
    listing = subprocess.run(["tar", "tf", tmp_path / "a.tar"], capture_output=True, text=True)
    assert (listing.returncode, listing.stderr) == (0, "")
    assert listing.stdout.split() == ["a.jpg", "a.json", "b" * 90 + ".png", "b" * 90 + ".json"]


def test_names_and_sizes_outside_ustar_are_refused():
    """What does not fit a header's fields is an error, never cut short."""
    with pytest.raises(ValueError, match="does not fit"):
        layout.sample_bytes("k" * 97, "jpg", b"", {})


def test_canonical_json_is_one_text_per_document():
    """Order of keys does not matter, there is no white space, and NaN has no form."""
    assert layout.canonical_json({"b": 1, "a": None}) == b'{"a":null,"b":1}'
    with pytest.raises(ValueError, match="JSON"):
        layout.canonical_json({"a": float("nan")})


def test_names_of_shards_sort_as_their_numbers():
    """Shards are numbered with five digits, and with more where there are more."""
    assert layout.tar_name("chexpert", 7) == "chexpert-00007.tar"
    assert layout.index_name("chexpert", 123456) == "chexpert-123456.idx"
