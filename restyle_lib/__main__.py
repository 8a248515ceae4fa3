"""The command line, `python -m restyle_lib`: thin, one function per command; see `--help`."""
import os
import sys
from pathlib import Path

import click

from . import profiles, runs, runs_cli, workbook
from .data_cli import data
from .edit_cli import edit
from .errors import STATUS, UserError
from .score_cli import claims, score
from .training.cli import PAIRS, Commands, train
from .weights_cli import weights


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--debug", is_flag=True, help="Show the traceback of a failure (anywhere on the line).")
def cli(debug):
    """The ReStyle workbook: notebooks, inversion, data, weights and training."""


@cli.command("list")
def list_notebooks():
    """List the notebooks, their times and last runs."""
    last = {path.parent.name: (path.parent.parent.name, runs.read_facts(path.parent)["status"])
            for folder in runs.list_runs() for path in folder.glob("*/run.json")}
    click.echo(f"{'notebook':34s}{''.join(f'{p:>8s}' for p in profiles.PROFILES)}   last run")
    for name in workbook.notebooks():
        seconds = [f"{s} s" if s else "-" for s in profiles.SECONDS.get(name, (None,) * 4)]
        ran = "{} ({})".format(*last[name]) if name in last else "-"
        click.echo(f"{name:34s}{''.join(f'{s:>8s}' for s in seconds)}   {ran}")
        click.echo(f"    {workbook.title(name)[0]}")
    click.echo("\nprofiles: " + "; ".join(f"{name}: {words}" for name, words in profiles.PROFILES.items()))


@cli.command()
@click.argument("notebook")
def show(notebook):
    """Show a notebook's parameters and sizes."""
    name = workbook.resolve(notebook)
    heading, claim = workbook.title(name)
    click.echo(f"{name}: {heading}\n{claim}\n")
    table = {row[1]: row[2:6] for row in profiles.SIZES if row[0] == name}
    columns = " ".join(f"{p:>7s}" for p in profiles.PROFILES)
    click.echo(f"{'parameter':14s}{'type':7s}{'default':12s}{columns}")
    for p in workbook.parameters(name):
        sizes = " ".join(f"{v:7d}" for v in table.get(p.name, ())) or " " * 31
        click.echo(f"{p.name:14s}{p.kind:7s}{p.default!r:12s}{sizes}  {p.help}")
    click.echo(f"\npython -m restyle_lib run {name} profile=quick seed=1")


@cli.command()
@click.argument("words", nargs=-1, required=True, metavar=f"NOTEBOOK...|all {PAIRS}")
@click.option("--profile", help=f"Sizes: {', '.join(profiles.PROFILES)}.")
@click.option("--run", "run", default="", help="Name of the run folder (default: a new number).")
def run(words, profile, run):
    """Execute notebooks and write a report."""
    names, pairs = _notebooks(words)
    target, failed = workbook.run(names, pairs, profile, run, say=click.echo, bar=sys.stderr.isatty())
    click.echo(f"report: {target / 'index.html'}")
    if broken := [name for name, error in failed.items() if error]:
        raise UserError(f"{len(broken)} of {len(failed)} notebooks failed: {', '.join(broken)}")


@cli.command()
@click.argument("words", nargs=-1, required=True, metavar=f"NOTEBOOK {PAIRS}")
@click.option("--profile", help=f"Sizes: {', '.join(profiles.PROFILES)}.")
@click.option("--run", "run", default="", help="Name of the run folder (default: a new number).")
def prepare(words, profile, run):
    """Write a notebook with parameters set, to open it."""
    names, pairs = _notebooks(words)
    for name in names:
        click.echo(f"jupyter lab {workbook.prepare(name, pairs, profile, run)}")


cli.add_command(runs_cli.batch)


@cli.command()
@click.argument("run")
@click.option("--gallery", is_flag=True, help="Also write outputs/gallery/RESULTS.md and its pictures.")
def report(run, gallery):
    """Rewrite a run's pages; update the gallery."""
    from . import html, report

    folder = runs.run_folder(run)
    for notebook in folder.glob("*/notebook.ipynb"):
        html.export(notebook)
    click.echo(report.write_index(folder))
    if gallery:
        click.echo(report.write_gallery(folder))


for command in (runs_cli.bless, runs_cli.compare, claims, runs_cli.clean, runs_cli.table,
                runs_cli.licences, data):
    cli.add_command(command)


cli.add_command(weights)


@cli.command()
@click.argument("file")
@click.argument("other", required=False)
@click.option("--count", default=64, show_default=True, type=click.IntRange(min=3), help="Random w.")
@click.option("--check", is_flag=True, help="Try it on samples of its own generator; no data needed.")
@click.option("--samples", default=32, show_default=True, type=click.IntRange(min=1), help="Of --check.")
@click.option("--domain", help="Of --check: a domain's name or YAML file (default: the file's).")
@click.option("--image", type=click.Path(path_type=Path), help="Of --check: where the average image goes.")
@click.option("--device", default="auto", show_default=True)
def inspect(file, other, count, check, samples, domain, image, device):
    """Say what a file is and whether it works; or how well two generators' latents are aligned."""
    from .checkpoints import inspect
    from .weights import find

    if other is not None:
        from . import latent_alignment, load_generator

        click.echo(latent_alignment.inspected(load_generator(file), load_generator(other), count))
        return
    path = find(file)
    click.echo("\n".join(inspect.describe(path)))
    if check:
        from .checkpoints.check import check

        image = image or runs.outputs_dir() / "inspect" / f"{path.stem}_average.png"
        failed = []
        for finding in check(file, image, domain=domain, count=samples, device=runs.choose_device(device)):
            click.echo(str(finding))
            failed += [] if finding.passed else [finding.name]
        click.echo(f"  average image: {image}")
        if failed:
            raise UserError(f"{file} does not work as it is: {', '.join(failed)}")


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
def convert(file, out):
    """Write a published file in the workbook's own format."""
    from .checkpoints.convert import convert

    for kind, folder in convert(file, out):
        click.echo(f"{kind}: {folder}")


@cli.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...")
@click.option("--model", default="avatars/restyle-psp", show_default=True, help="A shipped name or a path.")
@click.option("--steps", default=5, show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--save", default="strip,steps,latents", show_default=True, help="Also: final.")
@click.option("--start-from", metavar="MODEL", help="An encoder whose latent and image are the start.")
@click.option("--first-steps", default=1, show_default=True, help="Its steps; 0 is the plain start.")
@click.option("--domain", help="A domain's name or YAML file (default: the model's).")
@click.option("--generator", help="A generator's name or path (default: the model's).")
@click.option("--batch", default=8, show_default=True)
@click.option("--tolerance", default=0.0, show_default=True, help="Stop at so small a residual.")
@click.option("--device", default="auto", show_default=True)
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True,
              help="What the networks compute in; latents and images stay float32.")
def invert(images, model, steps, out, save, start_from, first_steps, domain, generator, batch, tolerance,
           device, dtype):
    """Invert images, folders and zips into a folder; under torchrun, each process its share of them."""
    from . import distributed, load_inverter, weights
    from .invert import invert

    device = distributed.start(device)
    inverter = load_inverter(model, domain, generator, device)
    own = start_from and weights.facts(start_from).get("domain")         # not that of the second encoder
    first = load_inverter(start_from, own or domain, device=device) if start_from else None
    if dtype == "bfloat16":
        from .bench import check_bfloat16
        check_bfloat16(inverter.device)
        inverter, first = inverter.bfloat16(), first and first.bfloat16()
    summary = invert(images, inverter, out, steps=steps, tolerance=tolerance, save=save.split(","),
                     start_from=first, first_steps=first_steps, batch=batch)
    click.echo("\n".join(summary.lines()))
    if distributed.rank() == 0:
        summary.check()


@cli.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...")
@click.option("--landmarks", type=click.Path(path_type=Path), help="Of .json, .csv, .npy or .npz.")
@click.option("--face", default="largest", show_default=True, help="largest, all, or a number from 0.")
@click.option("--size", default=256, show_default=True, help="Pixels of a side.")
@click.option("--out", required=True, type=click.Path(path_type=Path))
def align(images, landmarks, face, size, out):
    """Crop faces upright, as FFHQ's are."""
    from .alignment import align_files

    written, bad = align_files(images, out, landmarks, face=face, size=size)
    click.echo(f"{len(written)} faces aligned into {out}")
    if bad:
        raise UserError(f"{len(bad)} images were skipped: {'; '.join(bad)}; all others are in {out}")


cli.add_command(edit)
cli.add_command(score)
cli.add_command(train)


@cli.command()
@click.argument("cases", nargs=-1, metavar="[CASE]...")
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--batch", default=0, type=click.IntRange(min=0), help="Images in a batch (0: the case's own).")
@click.option("--device", default="auto", show_default=True)
@click.option("--json", "--out", "out", type=click.Path(path_type=Path), help="Also write the numbers here.")
@click.option("--compare", type=click.Path(path_type=Path), help="An earlier run's JSON, to be put beside.")
def bench(cases, **settings):
    """Measure speed and memory."""
    from . import bench

    bench.run(cases or "all", **settings)


def _notebooks(words):
    """(notebook names, name=value arguments) of a command's words; "all" means every notebook."""
    named = [word for word in words if "=" not in word]
    if not named:
        raise UserError(f"name a notebook, or all: {', '.join(workbook.notebooks())}")
    names = workbook.notebooks() if "all" in named else list(dict.fromkeys(map(workbook.resolve, named)))
    return names, [word for word in words if "=" in word]


def main(arguments=None):
    """Runs the command line; every failure is one sentence on stderr and a non-zero exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        quiet = [argument for argument in arguments if argument != "--debug"]
        return cli(quiet, prog_name="python -m restyle_lib", standalone_mode=False) or 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STATUS["failed"]
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted; what was finished is kept", STATUS["interrupted"])
    except click.ClickException as error:
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            click.echo(error.format_message())
            return STATUS["usage"]
        hint = f" (see {error.ctx.command_path} --help)" if getattr(error, "ctx", None) else ""
        return _fail(f"{error.format_message().rstrip('.')}{hint}", STATUS["usage"])
    except Exception as error:
        if debug:
            raise
        if isinstance(error, UserError):
            return _fail(str(error), error.status)
        words = " ".join(str(error).split()) or "no message"
        return _fail(f"{type(error).__name__}: {words} (--debug shows where)", STATUS["failed"])


def _fail(sentence, status):
    click.echo(f"error: {sentence}", err=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
