"""What the doctor saw, as a page for people, with ten of each list, and whole as plain values for programs."""

from typing import Any

from cxrfast.cli.progress import duration
from cxrfast.packing.doctor import Count, Examination, Outlook
from cxrfast.packing.duplicates import Duplicates
from cxrfast.packing.trial import Trial

_SHOWN = 10
_IN_A_ROW = 3
_SIDES = ("width", "height")


def as_dict(seen: Examination) -> dict[str, Any]:
    """Return the examination as plain values for JSON, lists of paths whole."""
    release = seen.release
    return {
        "dataset": release.dataset,
        "title": seen.source.title,
        "src": str(seen.src),
        "layout": release.layout,
        "images": len(release.table),
        "counts": [vars(count) for count in seen.counts],
        "labels": seen.labels,
        "missing": release.missing,
        "unlisted": release.unlisted,
        "trial": None if seen.trial is None else _trial_dict(seen.trial),
        "duplicates": None if seen.duplicates is None else _duplicates_dict(seen.duplicates),
        "packed": _outlook_dict(seen.outlook),
        "findings": seen.findings,
        "verdict": seen.verdict,
        "terms": seen.source.terms,
        "home": seen.source.home,
    }


def as_text(seen: Examination) -> str:
    """Return the examination as lines for a terminal; the last two are the terms of use and where the set is had."""
    release = seen.release
    blocks = [
        [f"{seen.source.title} in {seen.src}", f"Layout: {release.layout}", f"Images: {len(release.table):,}"],
        [f"{'Counts':<34} {'found':>10}   {'in the release':>14}", *map(_count_line, seen.counts)],
        [
            f"{'Labels':<34}" + "".join(f" {word:>10}" for word in ("positive", "negative", "uncertain", "blank")),
            *(
                f"  {name:<32}" + "".join(f" {number:>10,}" for number in by.values())
                for name, by in seen.labels.items()
            ),
        ],
        _listing(f"{_images(release.missing)} in the table but not on disk", release.missing),
        _listing(f"{_images(release.unlisted)} on disk but not in the table", release.unlisted),
        [] if seen.trial is None else _trial_lines(seen.trial),
        [] if seen.duplicates is None else _duplicates_lines(seen.duplicates),
        _outlook_lines(seen.outlook),
        [*(f"Note: {finding}." for finding in seen.findings), seen.verdict],
        [f"Terms of use: {seen.source.terms}", f"Where it is from: {seen.source.home}"],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def size(number: float) -> str:
    """Return a number of bytes as people say it, in powers of ten: `820 KB`, `3.9 GB`."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:,.1f} {unit}" if number < 100 * scale else f"{number / scale:,.0f} {unit}"
    return f"{number / 1e3:,.0f} KB"


def _count_line(count: Count) -> str:
    released = "not known" if count.released is None else f"{count.released:,}"
    difference = "" if count.released in (None, count.found) else f"   {count.found - (count.released or 0):+,}"
    return f"  {count.split:<6} {count.what:<25} {count.found:>10,}   {released:>14}{difference}"


def _images(items: list[Any]) -> str:
    return "1 image is" if len(items) == 1 else f"{len(items):,} images are"


def _listing(head: str, items: list[str]) -> list[str]:
    """Return a heading and the first of some items; nothing where there are none."""
    if not items:
        return []
    more = [f"  ... and {len(items) - _SHOWN:,} more (--json lists all)"] if len(items) > _SHOWN else []
    return [f"{head}:", *(f"  {item}" for item in items[:_SHOWN]), *more]


def _trial_lines(trial: Trial) -> list[str]:
    if not trial.drawn:
        return ["There is no image on disk to decode."]
    is_all = trial.drawn == trial.total
    drawn = f"All {trial.total:,} images on disk" if is_all else f"{trial.drawn:,} of {trial.total:,} images on disk"
    bad = len(trial.unreadable)
    lines = _listing(
        f"{drawn} were decoded; {bad:,} cannot be read{_share(trial)}",
        [f"{image.code}: {image.path}: {image.reason}" for image in trial.unreadable],
    ) or [f"{drawn} were decoded, and can be read{_share(trial)}."]
    for side in _SIDES:
        if found := trial.sides(side):
            lines.append(f"  {side:<7} {found[0]:>6,} to {found[2]:>6,} pixels, median {found[1]:>6,}")
    return [*lines, *(f"  {kind}: {number:,}" for kind, number in trial.kinds.items())]


def _share(trial: Trial) -> str:
    """Say what a sample tells of all images; nothing where it is all."""
    if trial.drawn == trial.total:
        return ""
    low, high = trial.share()
    between = f"{_percent(low)} to {_percent(high)}" if low else f"at most {_percent(high)}"
    return f" (unreadable of all: {between}, with 95 % confidence)"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _duplicates_lines(found: Duplicates) -> list[str]:
    unread = _listing(
        "1 file could not be read to compare it"
        if len(found.unread) == 1
        else f"{len(found.unread):,} files could not be read to compare them",
        [f"{path}: {reason}" for path, reason in found.unread.items()],
    )
    if not found.groups:
        return ["No two files hold the same bytes.", *unread]
    groups = "1 group" if len(found.groups) == 1 else f"{len(found.groups):,} groups"
    head = (
        f"{found.files:,} files share their bytes with another: {groups}, "
        f"{len(found.across_splits):,} across splits, {len(found.across_patients):,} across patients"
    )
    return [*_listing(head, [_equal(group.paths) for group in found.groups]), *unread]


def _equal(paths: tuple[str, ...]) -> str:
    more = f" = {len(paths) - _IN_A_ROW:,} more" if len(paths) > _IN_A_ROW else ""
    return " = ".join(paths[:_IN_A_ROW]) + more


def _outlook_lines(outlook: Outlook) -> list[str]:
    recipe = outlook.recipe
    free = f"{size(outlook.free)} are free for {outlook.out}"
    if not outlook.seen:
        return [f"No image could be packed to estimate size and time; {free}."]
    short = outlook.bytes > outlook.free
    return [
        f"Packed by default ({recipe.codec.upper()}, at most {recipe.long_side} pixels), it takes about "
        f"{size(outlook.bytes)} and {duration(max(1.0, outlook.seconds))} on {outlook.cpus} CPUs, judging by "
        f"{outlook.seen} images.",
        f"Of disk space, {free}" + (": NOT ENOUGH. Choose another disk by --out." if short else "."),
    ]


def _trial_dict(trial: Trial) -> dict[str, Any]:
    return {
        "drawn": trial.drawn,
        "total": trial.total,
        "unreadable": [vars(image) for image in trial.unreadable],
        "share": trial.share(),
        "kinds": trial.kinds,
        "sizes": {side: trial.sides(side) for side in _SIDES},
    }


def _duplicates_dict(found: Duplicates) -> dict[str, Any]:
    return {
        "files": found.files,
        "across_splits": len(found.across_splits),
        "across_patients": len(found.across_patients),
        "groups": [vars(group) for group in found.groups],
        "unread": found.unread,
    }


def _outlook_dict(outlook: Outlook) -> dict[str, Any]:
    return {**vars(outlook), "recipe": outlook.recipe.settings(), "out": str(outlook.out)}
