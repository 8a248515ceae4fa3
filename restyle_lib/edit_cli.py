"""`python -m restyle_lib edit ...`: edits by a direction, or the way between two images; torch comes late."""
import io
from pathlib import Path

import click

from . import runs
from .errors import UserError


@click.command()
@click.argument("images", nargs=-1, metavar="[IMAGES]...")
@click.option("--model", default="avatars/restyle-psp", show_default=True, help="A shipped name or a path.")
@click.option("--direction", help="An attribute, a shipped direction, or a direction's file.")
@click.option("--strengths", default="-3,0,3", show_default=True, help="In the direction's units.")
@click.option("--interpolate", nargs=2, metavar="A B", help="Two images: the way from one to the other.")
@click.option("--frames", default=25, show_default=True, type=click.IntRange(min=2), help="Of the animation.")
@click.option("--steps", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--device", default="auto", show_default=True)
def edit(images, model, direction, strengths, interpolate, frames, steps, out, device):
    """Edit images, or interpolate between two."""
    from .directions import number

    if bool(interpolate) == bool(images):
        raise UserError("give IMAGES and --direction, or --interpolate A B")
    if images and not direction:
        raise UserError("editing needs --direction: an attribute such as smile, or a direction's file")
    amounts = list(dict.fromkeys(number(text.strip()) for text in strengths.split(",")))
    from . import load_inverter

    inverter = load_inverter(model, device=runs.choose_device(device))
    if interpolate:
        click.echo(between(interpolate, inverter, out, frames=frames, steps=steps))
    else:
        for line in edited(images, inverter, out, direction, amounts, steps=steps):
            click.echo(line)


def edited(paths, inverter, out, name, strengths, *, steps=5):
    """Writes out/DIRECTION.npz, for --direction another time, and for every image out/NAME/edit.png (input,
    then a frame a strength), DIRECTION_STRENGTH.png (full size) and latents.npz -> lines about it.
    UserError names the bad images when all others are done."""
    import numpy as np
    import torch

    from .data import read_item
    from .directions import apply
    from .editing import get
    from .files import atomic
    from .invert import strip
    from .inverter import pool
    from .pixels import to_tensor
    from .sources import discover

    direction, bad = get(name, inverter.generator, inverter.domain), []
    accuracy = f", accuracy {direction.accuracy:.2f} on held-out samples" if direction.accuracy > 0 else ""
    yield f"{direction.name}: {direction.found}{accuracy}"
    yield f"one unit: {direction.meaning or 'not measured'}"
    items = discover(paths, leave_out=out)[0]
    direction.save(out / f"{_stem(direction)}.npz")
    for item in items:
        try:
            image = to_tensor(read_item(item, inverter.domain)[None])
        except UserError as error:
            bad.append(str(error))
            continue
        latents = inverter(image, steps).latents[-1]
        moved = torch.cat([apply(latents, direction, s, inverter.fingerprint) for s in strengths])
        full, folder = inverter.render(moved), out / item.name
        picture = strip(image[0], pool(full, inverter.domain.encoder_size))
        for file, pixels in [("edit.png", picture), *_named(direction, strengths, full)]:
            _write(folder / file, pixels)
        with atomic(folder / "latents.npz") as stream:
            np.savez(stream, inversion=latents.cpu().numpy(), edited=moved.cpu().numpy(),
                     strengths=np.array(strengths), generator=np.array(inverter.fingerprint))
    yield f"{len(items) - len(bad)} images edited into {out}"
    if bad:
        raise UserError(f"{len(bad)} of {len(items)} images were skipped: {'; '.join(bad[:5])}")


def between(paths, inverter, out, *, frames=25, steps=5, seconds=4.0):
    """Inverts two images and writes the way between them in W+: strip.png (A, up to seven frames, B),
    animation.gif, frame_K.png."""
    import torch

    from .data import load_images
    from .directions import interpolate
    from .invert import strip
    from .inverter import pool
    from .pixels import to_pixels

    images = load_images(list(paths), inverter.domain)
    if len(images) != 2:
        raise UserError(f"--interpolate takes two images, these are {len(images)}")
    latents = inverter(images, steps).latents[-1]
    full = torch.cat([inverter.render(part) for part in interpolate(*latents, frames).split(4)])
    shown = [round(i * (frames - 1) / (min(frames, 7) - 1)) for i in range(min(frames, 7))]
    small = pool(full[shown], inverter.domain.encoder_size)
    _write(out / "strip.png", strip(images[0], small, images[1]))
    animate(to_pixels(full), out / "animation.gif", seconds)
    for i, pixels in enumerate(to_pixels(full)):
        _write(out / f"frame_{i:03d}.png", pixels)
    return f"{frames} frames between {paths[0]} and {paths[1]}: {out / 'animation.gif'}"


def animate(frames, path, seconds=4.0):
    """uint8 [N, H, W, C] -> a GIF there and back, small images enlarged by a whole factor."""
    from PIL import Image

    from .files import atomic

    scale = max(1, 256 // frames.shape[1])
    frames = frames.repeat(scale, 1).repeat(scale, 2)
    grey = frames.shape[-1] == 1
    images = [Image.fromarray(f[..., 0] if grey else f) for f in (*frames, *frames[-2:0:-1])]
    stream = io.BytesIO()
    images[0].save(stream, "GIF", save_all=True, append_images=images[1:], loop=0,
                   duration=max(20, round(1000 * seconds / len(images))))
    with atomic(path) as file:
        file.write(stream.getvalue())


def _stem(direction):
    return "".join(c if c.isalnum() else "_" for c in direction.name)


def _named(direction, strengths, full):
    from .pixels import to_pixels

    stem = _stem(direction)
    return [(f"{stem}_{s:+g}.png", pixels) for s, pixels in zip(strengths, to_pixels(full), strict=True)]


def _write(path, pixels):
    from .files import atomic
    from .pixels import encode_png

    with atomic(path) as stream:
        stream.write(encode_png(pixels))
