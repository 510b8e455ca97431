"""`cxrfast-shard finish`: the commit of a set whose slices are all packed."""

from pathlib import Path

import click

from cxrfast.cli.pack import Rejects, next_step


@click.command(short_help="Commit a set whose slices are all packed.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--max-rejects",
    type=Rejects(),
    default="1%",
    show_default=True,
    help="The set is not committed when more of its images than this, a share or a count, could not be read.",
)
def finish(out: Path, max_rejects: float) -> None:
    """Commit the folder OUT when all its slices are packed, but the last was killed before it could do so.

    Where shards are missing it says which, and of which slices. The release is not needed.
    """
    from cxrfast.packing.finish import finish as finish_set

    document = finish_set(out, max_rejects=max_rejects)
    counts = document["counts"]
    click.echo(
        f"{out} is packed: {counts['images']:,} images, shards: {counts['shards']:,}, {counts['rejected']:,} rejected"
    )
    for line in next_step(document["name"], out):
        click.echo(line)
