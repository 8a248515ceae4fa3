"""`python -m restyle_lib score ...` and `claims ...`; torch is imported when scoring begins."""
from pathlib import Path

import click

from . import runs


@click.command()
@click.argument("outputs", type=click.Path(path_type=Path))
@click.argument("targets", type=click.Path(path_type=Path))
@click.option("--domain", help="A name or YAML file: at which size, and whose networks judge.")
@click.option("--official", is_flag=True, help="As the published scripts: 256-pixel squares, two decimals.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write a CSV of every image.")
@click.option("--device", default="auto", show_default=True)
def score(outputs, targets, domain, official, out, device):
    """Score images against those of the same names."""
    from .score_folders import score_folders

    device = runs.choose_device(device)
    summary = score_folders(outputs, targets, domain, official_protocol=official, device=device)
    if summary.scores:
        click.echo(f"{summary.scores.summary()!r}\n{summary.scores.protocol}")
    click.echo(f"{summary.pairs} pairs, {summary.layout}; {summary.passed_over} files without an image "
               "suffix passed over")
    if out and summary.scores:
        summary.scores.write(out)
        click.echo(f"{len(summary.scores.rows)} rows in {out}")
    summary.check()


@click.command()
@click.argument("run")
def claims(run):
    """Say which of the paper's claims a run bears out."""
    from . import claims

    table = claims.table(runs.run_folder(run))
    hardware = dict.fromkeys(h for row in table if (h := row.pop("hardware")))
    for row in table:
        del row["the paper says"], row["quantity"]
    click.echo(f"{table!r}\n{claims.count(table)}")
    for words in hardware:
        click.echo(f"hardware: {words}")
