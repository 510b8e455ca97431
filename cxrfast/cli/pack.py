"""`cxrfast-shard pack`: a release into a shard set."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxrfast.cli.events import Events
from cxrfast.errors import PackError

if TYPE_CHECKING:
    from cxrfast.packing.recipe import Recipe
    from cxrfast.packing.run import Summary
    from cxrfast.packing.slices import Slice

_FOLDER = click.Path(path_type=Path)
_CONFIGS = {"chexpert": "me1.yaml", "kermany": "kermany.yaml"}


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


class Part(click.ParamType[tuple[int, int]]):
    """A slice `i/n`, as two numbers."""

    name = "i/n"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return i and n."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", str(value).strip())
        if not found or int(found[1]) >= int(found[2]):
            self.fail(f"{value!r} is no slice; of 16 slices the first is 0/16 and the last 15/16", param, ctx)
        return int(found[1]), int(found[2])


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
@click.option(
    "--like",
    type=_FOLDER,
    help="Take all of these settings from a folder that was packed before; an option given beside it wins.",
)
@click.option("--workers", type=click.IntRange(1), help="Worker processes; all usable CPUs where none is given.")
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Decode on the workers of the Dask scheduler at this address, not on this machine.",
)
@click.option(
    "--slice",
    "share",
    type=Part(),
    default="0/1",
    help="Pack part i of n (i from 0 to n-1) beside others on this or other machines that share the disk; "
    "the last to end commits the set.",
)
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
@click.option(
    "--space-check/--no-space-check",
    default=True,
    show_default=True,
    help="Refuse to start where the packed set clearly does not fit the disk.",
)
@click.option(
    "--log-json", is_flag=True, help="Tell progress and errors as one JSON object a line on stderr, for programs."
)
@click.pass_context
def pack(
    ctx: click.Context,
    /,
    dataset: str,
    src: Path,
    out: Path | None,
    like: Path | None,
    workers: int | None,
    dask: str | None,
    share: tuple[int, int],
    max_rejects: float,
    space_check: bool,
    log_json: bool,
    **recipe: int | str,
) -> None:
    """Pack the release of DATASET (such as chexpert or kermany) under SRC into shards.

    Each image becomes 8-bit gray of a moderate size; labels are stored as released. The same command again resumes.
    """
    from cxrfast import sources
    from cxrfast.packing.run import pack as pack_release
    from cxrfast.packing.slices import Slice

    if dask is not None and workers is not None:
        raise click.UsageError("--dask and --workers exclude each other: the cluster has its own workers")
    out = out or Path("shards") / dataset
    part = Slice(*share)
    with Events(as_json=log_json) as events:
        source = sources.find(dataset)
        settings = _recipe(ctx, dataset, like, recipe)
        events.tell(
            f"Reading the tables and folders of {source.title} in {src} ...", "start",
            dataset=dataset, src=src, out=out, slice=str(part), recipe=settings.settings(),
        )  # fmt: skip
        release = source.scan(src)
        for finding in release.findings:
            events.tell(f"Note: {finding}", "finding", message=finding)
        with events.counting("packing") as progress:
            summary = pack_release(
                release, src, out, recipe=settings, share=part, workers=workers, dask=dask,
                max_rejects=max_rejects, space_check=space_check, progress=progress,
            )  # fmt: skip
        if log_json:
            events.emit("done", **asdict(summary))
    click.echo(json.dumps(asdict(summary)) if log_json else _report(summary, dataset, out, part))


def _recipe(ctx: click.Context, dataset: str, like: Path | None, given: Mapping[str, int | str]) -> "Recipe":
    """Return the recipe of the options, or of another packed folder with the options that were given laid over it."""
    from cxrfast.packing.begin import read_plan, recipe_of
    from cxrfast.packing.recipe import Recipe

    if like is None:
        return Recipe(dataset=dataset, **given)  # type: ignore[arg-type]  # click has checked the kinds
    plan = read_plan(like)
    if plan is None:
        raise PackError(f"{like} is not a packed folder (it has no plan.json), so there is no recipe to take from it")
    spoken = {name: value for name, value in given.items() if _was_given(ctx, name)}
    return recipe_of({**plan["recipe"], **spoken, "dataset": dataset}, like)


def _was_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT


def _report(summary: "Summary", dataset: str, out: Path, part: "Slice") -> str:
    from cxrfast.cli.progress import duration

    what = f"slice {part} of {out}" if summary.pending else str(out)
    done = "was packed already" if summary.complete else f"packed in {duration(summary.seconds)}"
    lines = [
        f"{what} {done}: {summary.images:,} images, {summary.bytes / 1e6:,.1f} MB, shards: {summary.shards:,}, "
        f"{summary.rejected:,} rejected"
    ]
    if summary.packed:
        lines.append(
            f"This run: {summary.packed:,} images, {summary.packed / summary.seconds:,.0f} images/s, "
            f"{summary.bytes_in / 1e6:,.1f} MB read, {summary.bytes_out / 1e6:,.1f} MB written"
            + (f"; shards packed before: {summary.resumed:,}" if summary.resumed else "")
        )
    if summary.rejected:
        codes = ", ".join(f"{count:,} {code}" for code, count in summary.codes.items())
        where = "" if summary.pending else f"; listed in {out / 'rejected.csv'}"
        lines.append(f"Rejected: {codes}{where}")
    if summary.pending:
        lines.append(
            f"Shards of other slices still to be packed: {summary.pending:,}. The last slice to end commits the set; "
            f"if it was killed: cxrfast-shard finish {shlex.quote(str(out))}"
        )
    else:
        lines += next_step(dataset, out)
    return "\n".join(lines)


def next_step(dataset: str, out: Path) -> list[str]:
    """Return the line that says what to do next: train, where an experiment would find the folder, else verify."""
    config = _CONFIGS.get(dataset)
    if config is None:
        return [f"Next: cxrfast-shard verify {shlex.quote(str(out))}"]
    if out.name != dataset:  # an experiment finds a shard set by its data set's name
        return []
    return [f"Next: cxrfast-train --config {config} --shards {shlex.quote(str(out.parent))}"]
