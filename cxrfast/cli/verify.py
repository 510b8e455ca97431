"""`cxrfast-shard verify`: whether shard sets are what was packed, and the way back where they are not."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cxrfast.packing.findings import Finding, Note, Verification

_SHOWN = 10


@click.command(short_help="Check every byte of packed sets; repair them from the release.")
@click.argument(
    "shardsets", metavar="SHARDSET...", nargs=-1, required=True, callback=lambda _, __, given: _folders(given)
)
@click.option("--decode", is_flag=True, help="Decode every stored image too, which takes several times as long.")
@click.option("--json", "as_json", is_flag=True, help="Print everything that was found as JSON, for programs.")
@click.option(
    "--repair",
    "src",
    type=click.Path(path_type=Path),
    metavar="SRC",
    help="Pack what is damaged anew from the release under SRC, to the same bytes.",
)
@click.option("--workers", type=click.IntRange(1), help="Threads or processes; all usable CPUs where none is given.")
def verify(shardsets: tuple[Path, ...], decode: bool, as_json: bool, src: Path | None, workers: int | None) -> int:
    """Check every byte of the packed folders SHARDSET...

    Tars, indexes, manifest and shardset.json are held against the recorded checksums and against each other. Damage is
    named by shard, key and byte. The exit status is 1 where anything is wrong.
    """
    from cxrfast.cli.progress import Counting
    from cxrfast.packing.verify import verify as verify_sets

    if src is not None and len(shardsets) != 1:
        raise click.UsageError("--repair takes one SHARDSET at a time, the one that was packed from SRC")
    with Counting("verifying") as progress:
        result = verify_sets(
            shardsets,
            decode=_size_of if decode else None,
            workers=workers,
            progress=lambda done, total, faults, nbytes: progress(done, total, 0, nbytes, 0),
        )
    if not as_json:
        click.echo("\n".join(_as_text(shardsets, result)))
    left, repaired = (result.findings, []) if src is None else _repair(shardsets[0], src, result, workers)
    if as_json:
        after = {"repaired": repaired, "left": [asdict(finding) for finding in left]}
        click.echo(json.dumps({**asdict(result), **after}, indent=2, ensure_ascii=False))
    else:
        if repaired and left:
            click.echo("\n".join(["After the repair:", *_by_file(left)]))
        click.echo(_verdict(len(result.findings), len(left), repaired))
    return 1 if left else 0


def _folders(given: tuple[str, ...]) -> tuple[Path, ...]:
    for name in given:
        if "://" in name:
            raise click.UsageError(
                f"{name} is a URL; verify reads every byte, so run it where the shards lie. What is fetched from a URL "
                "is held against its SHA-256 anyway"
            )
    return tuple(Path(name) for name in given)


def _repair(
    folder: Path, src: Path, result: "Verification", workers: int | None
) -> "tuple[Sequence[Finding], list[str]]":
    """Repair the folder; return what is still wrong with it, and the files that were replaced."""
    from cxrfast.cli.progress import Counting
    from cxrfast.packing.repair import repair

    with Counting("repairing") as progress:
        return repair(folder, src, result.findings, workers=workers, progress=progress)


def _size_of(payload: memoryview) -> tuple[int, int]:
    """Return width and height of a payload that decodes as training decodes it; ImageRejected where it does not."""
    from cxrfast.errors import ImageRejected
    from cxrfast.loading.decode import UndecodableError, decode

    try:
        height, width = decode(payload).shape
    except UndecodableError as error:
        raise ImageRejected("not-an-image", str(error)) from error
    return width, height


def _as_text(shardsets: Iterable[Path], result: "Verification") -> list[str]:
    from cxrfast.cli.progress import duration

    rate = result.nbytes / 1e6 / max(result.seconds, 1e-3)
    lines = [
        f"{', '.join(map(str, shardsets))}: {result.images:,} images in {result.shards:,} shards, "
        f"{result.nbytes / 1e6:,.1f} MB read in {duration(result.seconds)} ({rate:,.0f} MB/s)"
    ]
    return [*lines, *_by_file(result.findings), *_notes(result.notes)]


def _verdict(found: int, left: int, repaired: list[str]) -> str:
    if repaired:
        done = f"Replaced by the bytes that were packed: {', '.join(repaired)}. "
        return done + (f"{left:,} of {found:,} findings are left." if left else "All is as it was packed.")
    return f"{found:,} findings: this is not what was packed." if found else "All is as it was packed."


def _by_file(findings: "Sequence[Finding]") -> list[str]:
    lines: list[str] = []
    for (folder, file), group in groupby(findings, key=lambda finding: (finding.folder, finding.file)):
        lines += _of_file(f"{folder}/{file}", list(group))
    return lines


def _of_file(path: str, findings: "list[Finding]") -> list[str]:
    lines = [f"{path}:"]
    for finding in findings[:_SHOWN]:
        place = [] if finding.key is None else [finding.key]
        if finding.offset is not None:
            nbytes = finding.nbytes or 1
            to = "" if nbytes == 1 else f" to {finding.offset + nbytes - 1:,}"
            place.append(f"{'byte' if nbytes == 1 else 'bytes'} {finding.offset:,}{to}")
        lines.append("  " + ", ".join(place) + (": " if place else "") + finding.message)
    if len(findings) > _SHOWN:
        lines.append(f"  ... and {len(findings) - _SHOWN:,} more; --json lists all")
    return lines


def _notes(notes: "list[Note]") -> list[str]:
    lines = [f"Note: {note.message}" for note in notes if note.kind != "same-bytes"]
    same = [note for note in notes if note.kind == "same-bytes"]
    if same:
        lines.append(f"Note: {len(same):,} groups of images have the same stored bytes, which is no fault:")
        lines += [f"  {_images(note)}" for note in same[:_SHOWN]]
    if len(same) > _SHOWN:
        lines.append(f"  ... and {len(same) - _SHOWN:,} more; --json lists all")
    return lines


def _images(note: "Note") -> str:
    several = len({folder for folder, _ in note.images}) > 1
    return " = ".join(f"{folder}: {key}" if several else key for folder, key in note.images)
