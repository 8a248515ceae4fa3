"""`python -m restyle_lib batch|bless|compare|clean|errors|licences`: plans of runs, runs compared."""
import json
import os
import shutil
import time
from pathlib import Path

import click

from . import errors, runs
from .errors import UserError


def _numbers(_context, _parameter, text):
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--threads {text}: expected whole numbers, such as 1,2") from None


@click.command()
@click.argument("plan", type=click.Path(path_type=Path), required=False)
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Notebooks at a time.")
@click.option("--keep-going", is_flag=True, help="Go on after a failure.")
@click.option("--dry-run", is_flag=True, help="Check the plan and show what would run.")
@click.option("--resume", is_flag=True, help="Go on with it; leave out what the same code has finished.")
@click.option("--minutes", default=0.0, type=click.FloatRange(min=0), help="Limit of each run (0: none).")
@click.option("--memory-gb", default=0.0, type=click.FloatRange(min=0), help="Limit of each run (0: none).")
@click.option("--reproduce", metavar="RUN", help="Instead of a plan: make RUN again, compare the numbers.")
@click.option("--scheduler", metavar="ADDRESS", help="Of dask, such as tcp://HOST:8786: runs on its workers.")
def batch(plan, jobs, keep_going, dry_run, resume, minutes, memory_gb, reproduce, scheduler):
    """Execute a YAML plan of notebooks and parameters."""
    from . import batch, drift

    if (plan is None) == (reproduce is None):
        raise UserError("batch needs either a plan (a YAML file) or --reproduce RUN")
    first = runs.run_folder(reproduce) if reproduce else None
    planned = batch.again(first) if reproduce else batch.read(plan, minutes, memory_gb)
    if reproduce:
        for job in planned:
            job.minutes, job.memory_gb = minutes, memory_gb
            if first and job.done(first) is None:
                click.echo(f"{job.notebook}: made by other code, or by hand; numbers may differ")
    if dry_run:
        click.echo(f"{batch.expected(planned)!r}\n{len(planned)} runs; nothing was started")
        return
    name = f"{reproduce}-again" if reproduce else plan.stem
    how = dict(parallel=jobs, keep_going=keep_going, resume=resume, say=click.echo)
    if scheduler:
        from .cluster import Cluster

        with Cluster(scheduler) as cluster:
            table = batch.run(planned, name, **how | {"parallel": cluster.slots, "start": cluster.start})
    else:
        table = batch.run(planned, name, **how)
    click.echo(repr(table))
    folders = [runs.outputs_dir() / name for name in dict.fromkeys(job.run for job in planned)]
    for folder in folders:
        click.echo(f"report: {folder / 'index.html'}")
    if left := sum(job.status != "finished" for job in planned):
        raise UserError(f"{left} of {len(planned)} runs failed or were not begun; --resume goes on with them")
    if reproduce:
        _judge(drift.compare(folders[0], drift.baseline([first], floor=0.0)), False,
               f"{folders[0].name} against {reproduce}, exactly")


@click.command()
@click.argument("run")
@click.option("--repeats", default=5, show_default=True, help="How often it is made again.")
@click.option("--threads", default="1,2", show_default=True, callback=_numbers, help="In turn.")
@click.option("--out", type=click.Path(path_type=Path), help="Default: data_manifests/baselines/RUN.json.")
def bless(run, repeats, threads, out):
    """Repeat a run and keep its numbers as a baseline."""
    from . import drift

    path, found = drift.bless(runs.run_folder(run), repeats, threads, out, say=click.echo)
    for name in found["unsure"]:
        click.echo(f"not blessed, as some repeats lack it: {name}")
    click.echo(f"{len(found['records'])} records of {found['repeats']} runs in {path}; commit it")


@click.command()
@click.argument("run")
@click.argument("baseline")
@click.option("--timing", is_flag=True, help="Times and memory count, too.")
@click.option("--strict", is_flag=True, help="A claim that no longer holds is a failure.")
@click.option("--junit", type=click.Path(path_type=Path), help="Also write JUnit XML here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(run, baseline, timing, strict, junit, as_json):
    """Hold a run against a baseline (exit 3 to 6: see errors)."""
    from . import drift

    folder, against = runs.run_folder(run), drift.load(baseline)
    rows = drift.compare(folder, against, timing)
    if junit:
        drift.junit(rows, junit, strict)
    place = runs.outputs_dir() / "history" / f"{Path(baseline).stem}.csv"
    picture = drift.history(folder, rows, place)
    if as_json:
        click.echo(json.dumps({"run": run, "baseline": str(baseline), "status": drift.status(rows, strict),
                               "rows": rows}, indent=1))
    _judge(rows, strict, f"{run} against {baseline}", quiet=as_json)
    if not as_json:
        click.echo(f"history: {place}, {picture}")


def _judge(rows, strict, what, quiet=False):
    """Prints what differs; raises a UserError with the exit status that it stands for."""
    from . import drift

    shown, counts = drift.told(rows)
    if not quiet:
        click.echo("\n".join(filter(None, [repr(shown), f"{what}: {counts}"])))
    if status := drift.status(rows, strict):
        raise UserError(f"{what}: {errors.EXITS[status][0]} ({counts})", status)


@click.command()
@click.argument("names", nargs=-1, metavar="[RUN]...")
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="All runs older than that.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="All runs but the N newest.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def clean(names, older_than, keep, yes):
    """Delete runs by name, age or number."""
    folders = [runs.run_folder(name) for name in names]
    if older_than is not None:
        limit = time.time() - older_than * 86400
        folders += [f for f in runs.list_runs() if max(p.stat().st_mtime for p in f.rglob("*")) <= limit]
    if keep is not None:
        everything = runs.list_runs()
        folders += everything[:max(0, len(everything) - keep)]
    elif older_than is None and not names:
        raise UserError("clean needs the name of a run, --older-than DAYS or --keep N")
    for folder in dict.fromkeys(folders):
        if yes or click.confirm(f"delete {folder}?"):
            gone = folder.with_name(f".{folder.name}.gone")
            shutil.rmtree(gone, ignore_errors=True)
            os.replace(folder, gone)                      # so that no half of a run keeps its name
            shutil.rmtree(gone)
            click.echo(f"deleted {folder}")


@click.command("errors")
@click.argument("word", default="")
def table(word):
    """List exit codes and all error sentences (with WORD)."""
    for number, (name, words) in errors.EXITS.items():
        click.echo(f"{number:<4d}{name:13s}{words}")
    for place, sentence in errors.sentences():
        if word.lower() in sentence.lower():
            click.echo(f"{place}: {sentence}")


@click.command("licences")
def licences():
    """List the licences of dependencies and published files."""
    from . import licences
    from .tables import Table

    packages, files = licences.packages(), licences.files()
    click.echo(f"{Table(packages)!r}\n\n{Table(files)!r}\n")
    barred = sum(file["commercial"] == "no" for file in files)
    click.echo(f"{len(packages)} packages; {len(files)} published files, {barred} of them not for commercial "
               "use. The workbook, its notebooks, images and shipped networks: MIT")
