"""`python -m restyle_lib weights ...`: shipped networks and published files, listed, fetched and verified."""
import json

import click

from .errors import UserError
from .training.cli import Commands


@click.group(cls=Commands)
def weights():
    """Networks that ship with the workbook; published files."""


@weights.command("list")
@click.option("--published", is_flag=True, help="Also each published file's terms and links.")
def weights_list(published):
    """List the shipped networks and the published files."""
    from . import registry
    from .files import ASSETS, cache_dir

    found = sorted(ASSETS.glob("*/*/config.json"))
    for path in found:
        size = sum(f.stat().st_size for f in path.parent.iterdir()) / 1e6
        kind = json.loads(path.read_text(encoding="utf-8"))["kind"]
        click.echo(f"{path.parent.relative_to(ASSETS).as_posix():30s} {kind:12s} {size:5.1f} MB")
    click.echo(f"{len(found)} networks in {ASSETS}\n")
    files = registry.files()
    for name, file in files.items():
        here = "here" if file.place.exists() else "-"
        terms = {True: "", False: "non-commercial", None: "see terms"}[file.terms.commercial]
        click.echo(f"{name:25s} {file.kind:12s} {file.size_words.replace('size not stated', '-'):>17s} "
                   f"{here:5s}{terms:15s}{file.what}")
        if published:
            for line in (str(file.terms), *(link.url for link in file.links)):
                click.echo(f"{'':26s}{line}")
    here = sum(file.place.exists() for file in files.values())
    click.echo(f"{len(files)} published files, {here} of them in {cache_dir() / 'weights'}; not read by this "
               f"workbook: {', '.join(registry.NOT_READ)}")


@weights.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--offline", is_flag=True, help="Open no connection: say what is there, and the way by hand.")
def weights_fetch(names, offline):
    """Fetch published files into the cache folder."""
    from . import downloads, registry

    files, failed = [registry.entry(name) for name in names], []      # a wrong name ends it before the first
    for file in files:
        click.echo(f"{file.name}: {file.what}; {file.size_words}; {file.terms}")
        try:
            click.echo(f"{file.name}: {downloads.fetch(file.name, offline=offline, say=click.echo)}")
        except UserError as error:
            failed.append(file.name)
            click.echo(str(error))
    if failed:
        raise UserError(f"{len(failed)} of {len(names)} files are missing: {', '.join(failed)}; the lines "
                        "above say why, and how to get them by hand")


@weights.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
def weights_verify(names):
    """Hold published files against their sizes and checksums."""
    from . import registry

    here = [file for file in registry.files().values() if file.place.exists()]
    files, wrong = [registry.entry(name) for name in names] or here, []
    for file in files:
        try:
            registry.find(file.name, thorough=True)
            click.echo(f"{file.name}: as recorded ({file.place})")
        except UserError as error:
            wrong.append(f"{file.name}: {error}")
            click.echo(wrong[-1])
    click.echo(f"{len(files) - len(wrong)} of {len(files)} published files are as recorded")
    if wrong:
        raise UserError(f"{len(wrong)} of {len(files)} published files are not: {wrong[0]}")
