"""`cxrfast-shard pack`: a release into a shard set."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cxrfast.packing.run import Summary

_FOLDER = click.Path(path_type=Path)
_CONFIGS = {"kermany": "kermany.yaml"}


class Rejects(click.ParamType[float]):
    """A share such as `1%` (a float up to 1), or a count such as `20` (an int)."""

    name = "share or count"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share as a float or the count as an int."""
        text = str(value).strip()
        try:
            number = float(text[:-1]) / 100 if text.endswith("%") else int(text)
        except ValueError:
            self.fail(f"{text!r} is neither a share such as 1% nor a count such as 20", param, ctx)
        if number < 0 or (isinstance(number, float) and not number <= 1):
            self.fail(f"{text!r} is not from 0% to 100%, nor a count of 0 or more", param, ctx)
        return number


@click.command(short_help="Pack a release into a shard set; again to resume.")
@click.argument("dataset")
@click.argument("src", type=_FOLDER)
@click.option("--out", type=_FOLDER, help="The folder to pack into; shards/DATASET where none is given.")
@click.option(
    "--long-side",
    type=click.IntRange(0),
    default=320,
    show_default=True,
    help="The longer side of a stored image is at most this many pixels; smaller images stay as they are. "
    "0 keeps every image's size, and the very bytes of 8-bit gray JPEGs and PNGs.",
)
@click.option(
    "--codec",
    type=click.Choice(["jpeg", "png", "raw"]),
    default="jpeg",
    show_default=True,
    help="How stored images are compressed; png and raw lose nothing.",
)
@click.option(
    "--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="The quality of stored JPEGs."
)
@click.option(
    "--stretch",
    type=click.Choice(["none", "minmax"]),
    default="none",
    show_default=True,
    help="With minmax, each image's darkest and brightest pixel become 0 and 255 before it is resized.",
)
@click.option(
    "--samples-per-shard", type=click.IntRange(1), default=1024, show_default=True, help="How many images a shard gets."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The seed of the images' order over the shards.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes; all usable CPUs where none is given.")
@click.option(
    "--max-rejects",
    type=Rejects(),
    default="1%",
    show_default=True,
    help="Packing fails when more images than this, a share or a count, cannot be read.",
)
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=40_000_000,
    show_default=True,
    help="An image whose header claims more pixels is rejected without decoding it.",
)
def pack(
    dataset: str, src: Path, out: Path | None, workers: int | None, max_rejects: float, **recipe: int | str
) -> None:
    """Pack the release of DATASET (such as chexpert or kermany) under SRC into shards.

    Each image becomes 8-bit gray of a moderate size; labels are stored as released. The same command again resumes.
    """
    from cxrfast import sources
    from cxrfast.cli.progress import Counting
    from cxrfast.packing.recipe import Recipe
    from cxrfast.packing.run import pack as pack_release

    source = sources.find(dataset)
    out = out or Path("shards") / dataset
    settings = Recipe(dataset=dataset, **recipe)  # type: ignore[arg-type]  # click has checked the kinds
    click.echo(f"Reading the tables and folders of {source.title} in {src} ...", err=True)
    release = source.scan(src)
    for finding in release.findings:
        click.echo(f"Note: {finding}", err=True)
    with Counting("packing") as progress:
        summary = pack_release(
            release, src, out, recipe=settings, workers=workers, max_rejects=max_rejects, progress=progress
        )
    click.echo(_report(summary, dataset, out))


def _report(summary: "Summary", dataset: str, out: Path) -> str:
    from cxrfast.cli.progress import duration

    done = "was packed already" if summary.complete else f"packed in {duration(summary.seconds)}"
    lines = [
        f"{out} {done}: {summary.images:,} images, {summary.bytes / 1e6:,.1f} MB, shards: {summary.shards:,}, "
        f"{summary.rejected:,} rejected"
    ]
    if summary.rejected:
        codes = ", ".join(f"{count:,} {code}" for code, count in summary.codes.items())
        lines.append(f"Rejected: {codes}; listed in {out / 'rejected.csv'}")
    if out.name == dataset:  # an experiment finds a shard set by its data set's name
        config = _CONFIGS.get(dataset, "me1.yaml")
        lines.append(f"Next: cxrfast-train --config {config} --shards {shlex.quote(str(out.parent))}")
    return "\n".join(lines)
