"""`python -m restyle_lib train ...`; torch is imported when a training begins."""
from pathlib import Path

import click

from ..errors import suggest

PAIRS = "[NAME=VALUE]..."


class Commands(click.Group):
    """A group that keeps the commands' order and suggests one for a wrong name."""

    def list_commands(self, context):
        return list(self.commands)

    def resolve_command(self, context, arguments):
        if arguments and arguments[0] not in self.commands and not arguments[0].startswith("-"):
            raise suggest(arguments[0], self.commands, "command")
        return super().resolve_command(context, arguments)


@click.group(cls=Commands)
def train():
    """Train a generator, feature network or encoder."""


def _training(command):
    """The options that all trainings share."""
    for option in (
            click.argument("pairs", nargs=-1, metavar=PAIRS),
            click.option("--domain", default="avatars", show_default=True, help="A name or a YAML file."),
            click.option("--out", required=command.__name__ != "train_encoder",
                         type=click.Path(path_type=Path), help="The run folder."),
            click.option("--count", type=click.IntRange(min=1), help="Training images (default: all)."),
            click.option("--device", default="auto", show_default=True),
            click.option("--max-seconds", default=0.0, help="Save and stop after so long."),
            click.option("--restart", "force", is_flag=True, help="Begin anew, even in a used folder.")):
        command = option(command)
    return command


SIZE = click.option("--size", default="embedded", show_default=True,
                    help="Preset: embedded, published or gpu.")
START = click.option("--init-from", help="A network's name or path to start from.")


@train.command("generator")
@_training
@SIZE
@START
@click.option("--grow", is_flag=True, help="A rendered world's short way: 16, 32, 64 px, by regression.")
def train_generator(force, grow, **settings):
    """Train or fine-tune a StyleGAN2 generator."""
    from . import commands

    train = commands.grown if grow else commands.generator
    click.echo(train(**settings, force=force, resume=not force))


@train.command("features")
@click.argument("kind")
@_training
@START
def train_features(force, **settings):
    """Train a network: identity, attributes, perceptual, a judge of them (identity-judge, ...), or moco."""
    from . import commands

    click.echo(commands.features(**settings, force=force, resume=not force))


@train.command("encoder")
@click.argument("method")
@_training
@SIZE
@START
@click.option("--generator", help="A name or a path (default: the domain's).")
@click.option("--trunk", help="Network whose backbone to start from, or none.")
@click.option("--dry-run", is_flag=True, help="Print settings, length, memory and hours; train nothing.")
def train_encoder(force, dry_run, **settings):
    """Train an encoder: restyle-psp, restyle-e4e, psp, e4e or idinvert."""
    from . import commands

    if dry_run:
        names = ("method", "domain", "pairs", "size", "device")
        click.echo("\n".join(commands.dry_run(**{name: settings[name] for name in names})))
        return
    if settings["out"] is None:
        raise click.UsageError("Missing option '--out'.")
    click.echo(commands.encoder(**settings, force=force, resume=not force))


@train.command("ablation")
@click.argument("plan", required=False)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A folder for all variants.")
@click.option("--only", multiple=True, help="A variant to train (default: all that need no GPU).")
@click.option("--all", "everything", is_flag=True, help="Also those that wait for a GPU.")
@click.option("--seeds", type=click.IntRange(min=1), help="Trainings of each variant (default: the plan's).")
@click.option("--init-from", help="An encoder's name or path, for variants that start from one.")
@click.option("--count", type=click.IntRange(min=1), help="Training images (default: all).")
@click.option("--images", default=200, show_default=True, help="Held-out images to measure on.")
@click.option("--steps", default=20, show_default=True, help="Steps to measure at.")
@click.option("--device", default="auto", show_default=True)
@click.option("--max-seconds", default=0.0, help="Save and stop after so long.")
def train_ablation(plan, **settings):
    """Train the variants of a plan (YAML) at equal compute."""
    from .. import ablation, distributed
    from . import ablation as arms

    distributed.alone("an ablation")
    plan = arms.load(plan)
    click.echo(ablation.rows(plan, arms.train(plan, **settings, say=click.echo)))


@train.command("blend")
@click.argument("parent")
@click.argument("child")
@click.option("--swap", required=True, type=int, help="First resolution that changes hands, say 16.")
@click.option("--soft", default=0.0, show_default=True, help="Width of the transition in octaves.")
@click.option("--coarse", default="child", show_default=True, help="Whose blocks lie below: child or parent.")
@click.option("--recipe", is_flag=True, help="Write only what to blend, of two shipped generators.")
@click.option("--out", "folder", required=True, type=click.Path(path_type=Path), help="The model's folder.")
def train_blend(**settings):
    """Blend a generator with its parent by resolution."""
    from ..toonify import save_blend

    click.echo(save_blend(**settings))


@train.command("world")
@click.option("--domain", default="avatars", show_default=True, help="A name or a YAML file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A folder for all runs.")
@click.option("--size", default="embedded", show_default=True, help="Preset: embedded or gpu.")
@click.option("--method", "methods", multiple=True, help="Encoders to train (default: all).")
@click.option("--count", type=click.IntRange(min=1), help="Training images (default: all).")
@click.option("--device", default="auto", show_default=True)
@click.option("--max-seconds", default=0.0, help="Save and stop after so long, all in all.")
def train_world(**settings):
    """Train every network of a rendered domain, one on another."""
    from ..distributed import alone
    from .world import train_world

    alone("train world")
    for name, path in train_world(**settings, say=click.echo)[1].items():
        click.echo(f"{name}: {path}")


@train.command("audit")
@click.argument("model")
@click.option("--domain", help="A name or a YAML file (default: what the model was trained on).")
@click.option("--count", type=click.IntRange(min=2), help="Samples (2,000) or held-out images (500).")
@click.option("--out", type=click.Path(path_type=Path), help="Also write all numbers here, as JSON.")
@click.option("--device", default="auto", show_default=True)
def audit(**settings):
    """Hold a generator or encoder against its gates."""
    from . import commands

    click.echo(commands.audit(**settings))
