"""`cxrfast-shard doctor`: what a release is and what it lacks."""

import json
import shlex
from pathlib import Path

import click


@click.command(short_help="Say what a release is and what it lacks.")
@click.argument("dataset")
@click.argument("src", type=click.Path(path_type=Path))
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
