"""`cxrfast-shard doctor`: what a release is and what it lacks."""

import json
import shlex
from pathlib import Path

import click

_FOLDER = click.Path(path_type=Path)


@click.command(short_help="Say what a release is and what it lacks.")
@click.argument("dataset")
@click.argument("src", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print everything that was found as JSON, for programs.")
@click.option(
    "--decode", type=click.IntRange(1), help="Decode this many images, drawn evenly, and name the unreadable."
)
@click.option("--hash", "compare", is_flag=True, help="Look for files that hold the same bytes.")
@click.option("--out", type=_FOLDER, help="Where it is to be packed, to see its free space; shards/DATASET by default.")
def doctor(dataset: str, src: Path, as_json: bool, decode: int | None, compare: bool, out: Path | None) -> None:
    """Look at the release of DATASET (such as chexpert or kermany) under SRC.

    It says which layout this is, sets the counts beside those of the complete release, lists missing files, and
    estimates from 16 images what packing takes. No other image is read unless asked for, and nothing is written.
    """
    from cxrfast import sources
    from cxrfast.cli import doctor_page
    from cxrfast.cli.progress import Counting
    from cxrfast.packing.doctor import examine

    chosen = out or Path("shards") / dataset
    source = sources.find(dataset)
    seen = examine(source, src, out=chosen, decode=decode or 0, compare=compare, counting=Counting)
    if as_json:
        click.echo(json.dumps(doctor_page.as_dict(seen), indent=2, ensure_ascii=False))
        return
    click.echo(doctor_page.as_text(seen))
    place = f" --out {shlex.quote(str(out))}" if out else ""
    click.echo(f"\nNext: cxrfast-shard pack {dataset} {shlex.quote(str(src))}{place}")
