"""`cxrfast-shard`: look at a release, pack it, make a synthetic one.

Everything heavy is imported inside the commands, so that `--help` answers at once.
"""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxrfast.cli import terms

if TYPE_CHECKING:
    from cxrfast.packing.run import Summary

_FOLDER = click.Path(path_type=Path)
_CONFIGS = {"kermany": "kermany.yaml"}

_EPILOG = """\b
Examples:
  cxrfast-shard phantom demo/release
  cxrfast-shard doctor chexpert demo/release
  cxrfast-shard pack chexpert demo/release --out demo/shards/chexpert
"""


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


@click.group(epilog=_EPILOG)
@click.version_option(package_name="cxrfast")
def shard() -> None:
    """Pack chest X-ray data sets, as they are downloaded, into shards that load fast."""


@shard.command(short_help="Say what a release is and what it lacks.")
@click.argument("dataset")
@click.argument("src", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print everything that was found as JSON, for programs.")
def doctor(dataset: str, src: Path, as_json: bool) -> None:
    """Look at the release of DATASET (such as chexpert or kermany) under SRC.

    It says which layout this is, sets the counts beside those of the complete release, and lists missing files. No
    image is read and nothing is written.
    """
    from cxrfast import sources
    from cxrfast.packing import doctor

    seen = doctor.examine(sources.find(dataset), src)
    if as_json:
        click.echo(json.dumps(doctor.as_dict(seen), indent=2, ensure_ascii=False))
        return
    click.echo(doctor.as_text(seen))
    click.echo(f"\nNext: cxrfast-shard pack {dataset} {shlex.quote(str(src))}")


@shard.command(short_help="Pack a release into a shard set; again to resume.")
@click.argument("dataset")
@click.argument("src", type=_FOLDER)
@click.option("--out", type=_FOLDER, help="The folder to pack into; shards/DATASET where none is given.")
@click.option(
    "--long-side",
    type=click.IntRange(1),
    default=320,
    show_default=True,
    help="The longer side of a stored image is at most this many pixels; smaller images stay as they are.",
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


@shard.command(short_help="Draw synthetic releases to try everything on.")
@click.argument("out", type=_FOLDER)
@click.option(
    "--datasets",
    default="chexpert",
    show_default=True,
    help="The data sets to imitate, with commas between; all for every one that can be.",
)
@click.option(
    "--images", type=click.IntRange(1), default=500, show_default=True, help="How many images each of them gets."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed draws the same images.")
def phantom(out: Path, datasets: str, images: int, seed: int) -> None:
    """Draw synthetic releases below OUT in their native layouts, to try everything on without a download."""
    from cxrfast import phantom
    from cxrfast.cli.progress import Counting

    asked = [name.strip() for name in datasets.split(",") if name.strip()]
    names = sorted(phantom.WRITERS) if asked == ["all"] else asked
    done, total = 0, images * len(names)
    with Counting("drawing") as progress:

        def count(more: int) -> None:
            nonlocal done
            done += more
            progress(done, total)

        folders = phantom.write(out, datasets=names, images=images, seed=seed, progress=count)
    for name, folder in folders.items():
        click.echo(f"{folder}: a synthetic {name} of {images:,} images")
        click.echo(f"Next: cxrfast-shard doctor {name} {shlex.quote(str(out))}")


def main() -> None:
    """Enter from the command line."""
    terms.run(shard)


if __name__ == "__main__":
    main()
