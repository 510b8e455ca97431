"""`cxrfast-bench`: how fast this machine loads, and what holds it up.

Everything heavy is imported inside the commands, so that `--help` answers at once.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxrfast.cli import terms

if TYPE_CHECKING:
    from cxrfast.bench.measure import Settings

_EPILOG = """\b
Examples:
  cxrfast-bench loader shards/kermany
  cxrfast-bench loader shards/chexpert --views simclr --batch-size 1024 --cold
  cxrfast-bench loader shards/chexpert --step-ms 120        # would a training step of 120 ms have to wait?
"""


@click.group(epilog=_EPILOG)
@click.version_option(package_name="cxrfast")
def bench() -> None:
    """Measure how fast packed sets load here, beside what this machine could give."""


@bench.command(short_help="Say where a loader's time goes, and what bounds it.")
@click.argument("shardsets", metavar="SHARDSET...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--size", type=click.IntRange(1), default=224, show_default=True, help="Side of a view in pixels.")
@click.option("--views", type=click.Choice(["paper", "simclr", "plain"]), default="paper", show_default=True,
              help="How views are drawn.")  # fmt: skip
@click.option("--num-views", type=click.IntRange(1), default=2, show_default=True, help="Views of each image.")
@click.option("--batch-size", type=click.IntRange(1), default=256, show_default=True, help="Images of a batch.")
@click.option("--threads", type=click.IntRange(1), help="Threads; all usable CPUs where none is given.")
@click.option("--backend", type=click.Choice(["auto", "opencv", "dali"]), default="auto", show_default=True,
              help="What decodes and warps.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="Where batches go: cpu, cuda or cuda:1.")
@click.option("--order", type=click.Choice(["block", "global", "sequential"]), default="block", show_default=True,
              help="In what order images are visited.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Rounds, after one not counted.")
@click.option("--seconds", type=click.FloatRange(0.01), default=2.0, show_default=True,
              help="About how long a round of the loader takes.")  # fmt: skip
@click.option("--images", type=click.IntRange(1), help="Images of a round, in the place of --seconds.")
@click.option("--repeat", type=click.IntRange(1), metavar="K",
              help="Repeat the set's rows to at least K images.")  # fmt: skip
@click.option("--cold", is_flag=True, help="Drop the shards from the page cache before each round.")
@click.option("--step-ms", type=click.FloatRange(0), default=0.0, show_default=True,
              help="Milliseconds spent with each batch, as a training step would.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, for programs.")
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the JSON, with the environment, to FILE as well.")  # fmt: skip
def loader(shardsets: tuple[Path, ...], as_json: bool, record: Path | None, **options: Any) -> None:  # noqa: ANN401
    """Measure a Loader over the packed folders SHARDSET...

    Each stage (read, decode, warp, copy) is measured alone too, on as many threads, in turn with the loader: that is
    its ceiling. The verdict says in words what bounds the loader.
    """
    if record is not None and not record.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {record.parent} to write it into", param_hint="--record")
    from cxrfast.bench.measure import measure
    from cxrfast.cli import bench_page
    from cxrfast.shardset.shardset import ShardSet

    for path in shardsets:
        if re.match(r"[a-z0-9]+:/", str(path)):
            raise click.BadParameter(
                f"{path}: shards are measured where they lie; name a folder", param_hint="SHARDSET"
            )
    settings = _settings(options)
    shards = ShardSet.open(*shardsets)
    found = measure(shards, settings, progress=_tell)
    document = {"shardsets": [path.name for path in shardsets], **bench_page.as_dict(found, settings)}
    if record is not None:
        from cxrfast.experiment.folder import environment

        record.write_text(json.dumps({**document, "environment": environment()}, indent=2) + "\n")
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(bench_page.as_text(found, settings, name=", ".join(shards.names)), nl=False)


def _settings(options: dict[str, Any]) -> "Settings":
    from cxrfast.bench.measure import Settings
    from cxrfast.loading.order import Block, Global, Sequential
    from cxrfast.loading.views import ViewSpec

    view: ViewSpec = getattr(ViewSpec, options.pop("views"))()
    order = {"block": Block, "global": Global, "sequential": Sequential}[options.pop("order")]()
    views = (view,) * options.pop("num_views")
    repeat = options.pop("repeat") or 0
    return Settings(views=views, order=order, repeat=repeat, **options)


def _tell(done: int, total: int) -> None:
    click.echo("warmed up" if done == 1 else f"round {done - 1} of {total - 1}", err=True)


def main() -> None:
    """Enter from the command line."""
    terms.run(bench)


if __name__ == "__main__":
    main()
