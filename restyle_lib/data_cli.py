"""`python -m restyle_lib data ...`: datasets listed, verified, linked and written as files."""
from pathlib import Path

import click

from .errors import UserError
from .training.cli import Commands


@click.group(cls=Commands)
def data():
    """List, verify and link datasets; write their images."""


@data.command("list")
def data_list():
    """List the datasets with their splits and licences."""
    from . import domains

    for name in domains.available("datasets"):
        dataset = domains.load_dataset(name)
        counts = {name: getattr(split, "images", None) for name, split in dataset.splits.items()}
        splits = ", ".join(f"{name} ({count:,})" if count else name for name, count in counts.items())
        click.echo(f"{name:14s} {dataset.title or dataset.description}\n{'':14s} splits: {splits}; licence: "
                   f"{dataset.licence}")
        if dataset.obtain:
            click.echo(f"{'':14s} {'here' if dataset.root.exists() else 'not on this machine'}; "
                       f"{dataset.obtain}; layout: {dataset.layout}")


@data.command("verify")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--count", type=click.IntRange(min=1), help="Images of each split to read (default: all).")
def data_verify(datasets, count):
    """Check datasets: splits, groups, every image."""
    from . import domains
    from .verify import verify

    names, absent, wrong = datasets or domains.available("datasets"), [], []
    for dataset in names:
        found = domains.load_dataset(dataset)
        if not datasets and not isinstance(found.source, domains.RenderedSource) and not found.root.exists():
            absent.append(dataset)
            continue
        rows, found = verify(dataset, count)
        click.echo("\n".join(filter(None, [repr(rows), *found])))
        wrong += found
    if absent:
        click.echo(f"not on this machine: {', '.join(absent)} (python -m restyle_lib data link NAME PATH)")
    if wrong:
        raise UserError(f"{len(wrong)} {'thing is' if len(wrong) == 1 else 'things are'} wrong, the first: "
                        f"{wrong[0]}")


@data.command("link")
@click.argument("dataset")
@click.argument("path", type=click.Path(path_type=Path))
def data_link(dataset, path):
    """Say where a dataset's images are."""
    from .domains import load_dataset
    from .verify import link

    click.echo(f"{link(dataset, path)} is now a link to {path}")
    dataset = load_dataset(dataset)
    for name in dataset.splits:
        count, expected = len(dataset.split(name)), dataset.splits[name].images
        told = f" of {expected:,} that are expected" if expected not in (None, count) else ""
        click.echo(f"{name}: {count:,} images{told}")


@data.command("export")
@click.argument("dataset")
@click.option("--split", default="test", show_default=True)
@click.option("--count", type=click.IntRange(min=1), help="How many images (default: all).")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def data_export(dataset, split, count, out):
    """Write a split's images as PNG files and attributes.csv."""
    from . import data

    click.echo(f"{data.export(dataset, split, out, count)} images in {out}")
