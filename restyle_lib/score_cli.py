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
@click.argument("also", nargs=-1)
@click.option("--strict", is_flag=True, help="Fail if a measured claim does not hold.")
def claims(run, also, strict):
    """Say which of the paper's claims a run bears out; ALSO: runs that fill in what it did not measure."""
    from . import ledger

    entries = ledger.read(*(runs.run_folder(name) for name in (run, *also)))
    table, rows = ledger.columns(entries, numbers=False), ledger.details(entries)
    for row in table:
        del row["where"], row["the paper says"], row["quantity"]
    hardware = dict.fromkeys(h for row in rows if (h := row.pop("hardware")))
    click.echo(f"{table!r}\n\n{rows!r}\n\n{ledger.agreement(entries)!r}\n\n{ledger.count(entries)}")
    for words in hardware:
        click.echo(f"hardware: {words}")
    if not entries:
        click.echo(f"{run} holds no record of a claim; make them: python -m restyle_lib run all --run {run}")
    if strict:
        ledger.strict(entries)
