"""What verifying has to say: findings, which are faults, and notes, which are not. Plain values, JSON too."""

from dataclasses import dataclass, field

KINDS = {
    "missing": "a file that shardset.json lists is not there",
    "extra": "a file lies in the folder that shardset.json does not list",
    "size": "a file is shorter or longer than recorded",
    "unreadable": "the system cannot read a file",
    "content": "a file's bytes are not those recorded, and no finer place is known",
    "header": "a tar header inside a sample is damaged",
    "image": "the stored image of a sample is damaged",
    "document": "the JSON of a sample is damaged",
    "padding": "the zero bytes behind a member are damaged",
    "end": "the end of a tar is damaged",
    "index": "an index does not say where the samples lie",
    "manifest": "the manifest does not say what the tars hold",
    "plan": "plan.json is no plan, though it has the bytes that shardset.json records",
    "record": "shardset.json is damaged or contradicts the files",
    "decode": "a stored image does not decode, or not to the size in the manifest",
}


@dataclass(frozen=True)
class Finding:
    """One fault: its kind (of KINDS), the file in its folder, and as far as known shard, key and bytes.

    The damage lies in `nbytes` bytes from `offset` of the file; with 1 it is that byte.
    """

    kind: str
    folder: str
    file: str
    message: str
    shard: int | None = None
    key: str | None = None
    offset: int | None = None
    nbytes: int | None = None


@dataclass(frozen=True)
class Note:
    """Something worth knowing that is no fault; `images` are (folder, key) pairs that it is about."""

    kind: str
    message: str
    images: tuple[tuple[str, str], ...] = ()


@dataclass
class Verification:
    """All that verifying has found, over `images` images and `nbytes` bytes of files, in `seconds`."""

    findings: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    images: int = 0
    shards: int = 0
    nbytes: int = 0
    seconds: float = 0.0
