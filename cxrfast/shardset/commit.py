"""The form of shardset.json: checked once, for all who read it, before a word of it is believed."""

from collections.abc import Iterator

from cxrfast.shardset.format import FORMAT_NAME, FORMAT_VERSION, KEY, MANIFEST_FILE


def wrong_version(document: object) -> str | None:
    """Say where a document is of another format or version than this cxrfast reads; None where it is not."""
    found = (document.get("format"), document.get("version")) if isinstance(document, dict) else (None, None)
    if found == (FORMAT_NAME, FORMAT_VERSION):
        return None
    return f"of format {found[0]!r} version {found[1]!r}; this cxrfast reads {FORMAT_NAME} version {FORMAT_VERSION}"


def wrong_form(document: object) -> Iterator[str]:
    """Yield what keeps a document from being a shardset.json that a set can be opened by."""
    if not isinstance(document, dict):
        yield "it holds no fields"
        return
    name, labels, files = (document.get(field) for field in ("name", "labels", "files"))
    if not isinstance(name, str) or not KEY.fullmatch(name):
        yield "its field 'name' is missing or names no data set"
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        yield "its field 'labels' is missing or is no list of names"
    if not isinstance(document.get("recipe", {}), dict):
        yield "its field 'recipe' is of another kind"
    if not isinstance(files, dict):
        yield "its field 'files' is missing or of another kind"
        return
    for file, entry in files.items():
        good = isinstance(entry, dict) and isinstance(entry.get("size"), int) and isinstance(entry.get("sha256"), str)
        if not good or "/" in file or not file.isprintable():
            yield f"its entry of {file!r} has no size and SHA-256, or is no file name"
    if MANIFEST_FILE not in files:
        yield f"it does not list {MANIFEST_FILE}"
