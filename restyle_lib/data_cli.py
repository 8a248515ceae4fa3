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
        click.echo(f"{name:14s} {dataset.title or dataset.description}\n{'':14s} splits: "
                   f"{', '.join(dataset.splits)}; licence: {dataset.licence}")


@data.command("verify")
@click.argument("datasets", nargs=-1, metavar="[DATASET]...")
@click.option("--count", type=click.IntRange(min=1), help="Images of each split to read (default: all).")
def data_verify(datasets, count):
    """Check datasets: splits, groups, every image."""
    from . import domains
    from .verify import verify

    wrong = []
    for dataset in datasets or domains.available("datasets"):
        rows, found = verify(dataset, count)
        click.echo("\n".join(filter(None, [repr(rows), *found])))
        wrong += found
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
        click.echo(f"{name}: {len(dataset.split(name))} images")


@data.command("export")
@click.argument("dataset")
@click.option("--split", default="test", show_default=True)
@click.option("--count", type=click.IntRange(min=1), help="How many images (default: all).")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def data_export(dataset, split, count, out):
    """Write a split's images as PNG files and attributes.csv."""
    from . import data

    click.echo(f"{data.export(dataset, split, out, count)} images in {out}")
