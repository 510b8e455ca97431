"""What all sources share: keys, the registry, the record table, the walk."""

import os
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrfast import sources
from cxrfast.errors import SourceError
from cxrfast.labels import VOCABULARIES
from cxrfast.shardset.manifest import RECORD_TYPES
from cxrfast.sources import base

KEY = re.compile(r"[A-Za-z0-9_-]{1,90}")


def test_every_module_is_a_source_of_its_own_name():
    """The registry is the folder: each file but base holds a SOURCE called as the file is."""
    assert {"chexpert", "kermany"} <= set(sources.names())
    for name in sources.names():
        source = sources.find(name)
        assert source.name == name
        assert source.vocabulary == VOCABULARIES[name]
        assert source.title
        assert source.layout_help
        assert source.home
        assert source.terms.endswith(".")


def test_a_further_set_is_a_single_new_file(tmp_path, monkeypatch):
    """A module that appears in the package's folder is found, with nothing registered anywhere."""
    (tmp_path / "newset.py").write_text("class New:\n    name = 'newset'\nSOURCE = New()\n")
    monkeypatch.setattr(base, "__file__", str(tmp_path / "base.py"))
    monkeypatch.setattr(sources, "__path__", [str(tmp_path)])
    assert base.names() == ["newset"]
    assert base.find("newset").name == "newset"


@pytest.mark.parametrize(("asked", "named"), [("chexprt", "chexpert"), ("CheXpert", "chexpert"), ("x", "kermany")])
def test_an_unknown_set_names_the_nearest(asked, named):
    """Or all of them, where none is near."""
    with pytest.raises(SourceError, match=named):
        sources.find(asked)


def test_keys_that_fit_are_kept():
    """DATASET-NAME, where it is in the grammar and not too long."""
    assert base.make_key("kermany", "IM-0115-0001", "any") == "kermany-IM-0115-0001"
    assert base.make_key("a", "b" * 88, "any") == "a-" + "b" * 88


def test_keys_that_do_not_fit_are_hashed():
    """60 legal characters, a dash, 12 hex digits of the path's SHA-256."""
    digest = sha256("a/снимок 1.png".encode()).hexdigest()[:12]
    assert base.make_key("gb7flg", "снимок 1.v2", "a/снимок 1.png") == f"gb7flg-1v2-{digest}"
    assert base.make_key("a", "b" * 89, "p") == "a-" + "b" * 58 + "-" + sha256(b"p").hexdigest()[:12]


@given(st.text(max_size=200), st.text(max_size=200))
def test_every_key_is_in_the_grammar(name, path):
    """Whatever a file is called: legal, not too long, without a dot, and beginning with the set's name."""
    key = base.make_key("vinbigdata", name, path)
    assert KEY.fullmatch(key)
    assert key.startswith("vinbigdata-")


def test_the_record_table_has_the_designs_columns_in_order():
    """The manifest's record columns, then labels; absent ones are missing, not empty text."""
    table = base.record_table({"key": ["k-1", "k-2"], "patient": ["p", None], "age": [0, None]}, {"Edema": [-1, None]})
    assert list(table.columns) == [*RECORD_TYPES, "label.Edema"]
    assert table["patient"].isna().tolist() == [False, True]
    assert table["study"].isna().all()
    assert table["age"].dtype == np.float32
    assert table["label.Edema"].tolist()[0] == -1
    assert table["label.Edema"].isna().tolist() == [False, True]


def test_two_images_of_one_key_are_refused():
    """A key names one sample, in a shard and in every csv that is joined to it."""
    with pytest.raises(SourceError, match="k-1"):
        base.record_table({"key": ["k-1", "k-2", "k-1"]}, {})


def test_the_walk_is_sorted_and_passes_over_what_is_no_data(tmp_path):
    """Hidden files, __MACOSX and the like are not met; the order does not depend on the file system."""
    for path in ("b/2.png", "b/10.png", "a/x.png", ".git/x", "__MACOSX/a/._x.png", "a/._x.png", "top.csv"):
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / path).touch()
    assert list(base.walk_files(tmp_path)) == [("", ["top.csv"]), ("a", ["x.png"]), ("b", ["10.png", "2.png"])]


def test_linked_folders_are_entered_once(tmp_path):
    """A loop ends, and two links to one folder elsewhere do not double it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.png").touch()
    src = tmp_path / "src"
    (src / "a").mkdir(parents=True)
    (src / "a" / "loop").symlink_to(src)
    (src / "a" / "one").symlink_to(elsewhere)
    (src / "b").symlink_to(elsewhere)
    found = [f"{folder}/{name}" for folder, names in base.walk_files(src) for name in names]
    assert found in (["a/one/x.png"], ["b/x.png"])


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    """A folder that is gone when its turn comes stops the walk: half a release must not pass for a whole one."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    walk = base.walk_files(tmp_path)
    next(walk)
    (tmp_path / "a").rmdir()
    with pytest.raises(SourceError, match="a cannot be listed"):
        next(walk)


def test_a_name_that_is_not_utf8_is_named(tmp_path):
    """A file of an old Windows disk: one sentence instead of pandas' own error."""
    folder = tmp_path / "train" / "NORMAL"
    folder.mkdir(parents=True)
    (folder / "IM-0001-0001.jpeg").touch()
    (Path(os.fsdecode(os.fsencode(folder) + b"/IM-0002-\xff.jpeg"))).touch()
    with pytest.raises(SourceError, match="not UTF-8 on this disk"):
        sources.find("kermany").scan(tmp_path)
