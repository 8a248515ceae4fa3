"""Hands-on parts of notebooks, with ipywidgets 7 or 8: each shows its static figure first, then its sliders.

Without a kernel, or without ipywidgets, the figure remains. A slider draws at encoder size, and only for the
value it rests on: nothing waits in a queue. Whatever goes wrong is one sentence below the sliders."""
import asyncio
import io
from pathlib import Path

import numpy as np
import torch

from . import figures
from .directions import apply
from .errors import UserError
from .files import atomic
from .inverter import draw_row
from .metrics import by_step, l2
from .pixels import decode, encode_png, to_pixels, to_tensor

WAIT = 0.05         # seconds that a slider has to rest
SHOWN = 192         # pixels of a picture's height on the page, about


def library():
    """ipywidgets, or None and a sentence where it is missing."""
    try:
        import ipywidgets
    except ImportError:
        print("sliders need ipywidgets: pip install ipywidgets; the figures above tell the same")
        return None
    return ipywidgets


def refinement_player(run, trajectory, images, row=0):
    """Image `row`, its reconstruction step by step, the change of each step, and the error's curve.

    trajectory: of images [B, C, H, W]. -> the widget, or None where only the figure is wanted."""
    errors = by_step(l2, trajectory, images.to(trajectory.images.device)).cpu().numpy()
    run.show(figures.strip(images[row:row + 1], trajectory.images[:, row:row + 1],
                           values=errors[:, row:row + 1]), "player",
             "Film strip: the input, the start and the reconstruction after each step.",
             "The refinement of one image step by step, with the mean squared difference from the input.")
    if not run.interactive or (w := library()) is None:
        return None
    frames, moved = trajectory.images[:, row].cpu(), trajectory.images[:, row].cpu().diff(dim=0).abs().mean(1)
    heat = figures.colour(torch.cat([torch.zeros_like(moved[:1]), moved]))
    curve, last = {}, len(frames) - 1
    picture, change, graph = w.Image(format="png"), w.Image(format="png"), w.Image(format="png", width=420)
    label = w.HTML()
    play = w.Play(min=0, max=last, value=0, interval=700)
    slider = w.IntSlider(min=0, max=last, value=0, description="step")

    def draw(step):
        picture.value, change.value = png(to_pixels(frames[step:step + 1])[0]), png(heat[step])
        if step not in curve:
            figure = figures.curve({"L2": errors[:, row]}, "step", "L2 on [-1, 1]", x=trajectory.step)
            figure.axes[0].axvline(int(trajectory.step[step]), color="0.4", ls=":", lw=1)
            curve[step] = figure_png(figure)
        graph.value = curve[step]
        label.value = (f"step {int(trajectory.step[step])}: L2 {errors[step, row]:.4f} "
                       "(input, reconstruction, what this step changed)")

    w.jslink((play, "value"), (slider, "value"))
    follow(label, draw, slider)
    still = w.Image(value=png(to_pixels(images[row:row + 1])[0]), format="png")
    return w.VBox([w.HBox([play, slider]), label, w.HBox([still, picture, change]), graph])


def inversion_bench(run, inverters, images, names=()):
    """Choose or upload an image, a model, steps and a tolerance, and press the button.

    inverters: {name: Inverter} of one domain, images [B, C, H, W] in [-1, 1] at its encoder size."""
    first, names = next(iter(inverters.values())), list(names) or [f"image {i}" for i in range(len(images))]
    made = first(images[:1], 5)
    run.show(figures.strip(images[:1], made.images), "bench",
             "Film strip: an input and its reconstruction step by step.",
             f"What the bench shows: {next(iter(inverters))}, five steps.")
    if not run.interactive or (w := library()) is None:
        return None
    model, image = w.Dropdown(options=list(inverters), description="model"), w.Dropdown(
        options=[(name, i) for i, name in enumerate(names)], description="image")
    upload, given = w.FileUpload(accept="image/*", multiple=False), {}
    steps = w.IntSlider(min=1, max=10, value=5, description="steps")
    tolerance = w.FloatSlider(min=0, max=0.5, step=0.01, value=0, description="tolerance")
    button, label = w.Button(description="Invert"), w.HTML()
    picture = w.Image(format="png", layout=w.Layout(max_width="98%"))

    def take(_):
        if (latest := uploaded(upload.value)) is not None:
            name, data = latest
            given[name] = data
            image.options = [option for option in image.options if option[1] != name] + [(name, name)]
            image.value = name

    def invert(*_):
        inverter, name = inverters[model.value], image.value
        spec, label.value = inverter.domain, "inverting ..."
        x = to_tensor(decode(given[name], name, spec.channels, None, spec.encoder_size, spec.fit)[None]
                      ) if name in given else images[name][None]
        single = inverter.encoder.in_channels == spec.channels
        made = inverter(x, 1 if single else steps.value, tolerance=tolerance.value)
        errors = by_step(l2, made, x.to(inverter.device)).cpu()
        picture.value = figure_png(figures.strip(x, made.images, values=errors), figures.DPI)
        label.value = f"done after {int(made.stopped_at[0])} steps: L2 {errors[-1].item():.4f}"

    upload.observe(take, names="value")
    button.on_click(guarded(label, invert))
    rows = [model, image, upload], [steps, tolerance, button], [label], [picture]
    return w.VBox([w.HBox(row) for row in rows])


def editing_desk(run, inverter, latents, directions, folder=None, row=0):
    """Sliders for named directions on an inversion, in measured units; reset; save image and latents.

    latents [B, k, d]; folder: where Save writes, by default the run's."""
    folder, latent = Path(folder or run.folder / "desk"), latents[row:row + 1].to(inverter.device)
    ends = [(d, s) for d in directions for s in (-2, 0, 2)]
    moved = torch.cat([apply(latent, d, s, inverter.fingerprint) for d, s in ends])
    shown = draw_row(inverter.generator, inverter.domain, moved, inverter.noise)
    cells = figures.pixels(shown).reshape(len(directions), 3, *shown.shape[2:], 3)
    run.show(figures.panels([list(line) for line in cells], ["-2", "0", "+2"], [d.name for d in directions]),
             "desk", "Rows of three pictures: an inversion edited down, untouched, edited up.",
             "What the desk's sliders do, two units either way: " +
             "; ".join(f"a unit of {d.name}: {d.meaning or 'not measured'}" for d in directions) + ".")
    if not run.interactive or (w := library()) is None:
        return None
    sliders = [w.FloatSlider(min=-3, max=3, step=0.1, value=0, description=d.name) for d in directions]
    meanings = [w.Label(f"a unit: {d.meaning or 'not measured'}") for d in directions]
    still, picture, label = w.Image(format="png"), w.Image(format="png"), w.HTML()

    def edited():
        now = latent
        for direction, slider in zip(directions, sliders, strict=True):
            now = apply(now, direction, slider.value, inverter.fingerprint)
        return now

    def reset(*_):
        for slider in sliders:
            slider.value = 0.0

    def save(*_):
        now = edited()
        with atomic(folder / "edit.png") as stream:
            stream.write(encode_png(to_pixels(inverter.render(now))[0]))
        with atomic(folder / "edit.npz") as stream:
            np.savez(stream, inversion=latent.cpu().numpy(), edited=now.cpu().numpy(),
                     generator=np.array(inverter.fingerprint))
        label.value = "saved edit.png (full size) and edit.npz (latents)"

    buttons = w.Button(description="Reset"), w.Button(description="Save")
    buttons[0].on_click(guarded(label, reset))
    buttons[1].on_click(guarded(label, save))

    def draw(*_):
        drawn = draw_row(inverter.generator, inverter.domain, edited(), inverter.noise)
        picture.value, label.value = png(to_pixels(drawn)[0]), "left the inversion, right the edit"

    follow(label, draw, *sliders)
    still.value = picture.value
    rows = [w.HBox(pair) for pair in zip(sliders, meanings, strict=True)]
    return w.VBox([w.HBox([still, picture]), *rows, w.HBox(buttons), label])


def latent_explorer(run, generator, domain, seeds=8):
    """Samples of a generator: truncation, and mixing the styles of two of them from a layer on."""
    z = torch.randn(seeds, generator.z_dim, generator=torch.Generator().manual_seed(run.seed))
    with torch.no_grad():
        w_of = generator.mapping(z.to(generator.w_mean.device))

    @torch.no_grad()
    def drawn(first, second, layer, psi):
        mixed = generator.mix(w_of[first:first + 1], w_of[second:second + 1], layer)
        return draw_row(generator, domain, generator.truncate(mixed, psi))

    psis, half = (0.0, 0.4, 0.7, 1.0), generator.n_styles // 2
    cells = [[figures.pixels(drawn(0, s, half, psi))[0] for psi in psis] for s in (0, min(1, seeds - 1))]
    titles = [f"truncation {psi:g}" for psi in psis]
    run.show(figures.panels(cells, titles, ["a sample", "mixed"]), "explorer",
             "Two rows of pictures, from the average image to an untruncated sample.",
             f"A sample of the generator of '{domain.title}' by truncation, and with another's fine styles.")
    if not run.interactive or (w := library()) is None:
        return None
    first, second = (w.IntSlider(min=0, max=seeds - 1, value=v, description=d)
                     for v, d in ((0, "sample"), (min(1, seeds - 1), "styles of")))
    layer = w.IntSlider(min=0, max=generator.n_styles, value=generator.n_styles, description="from style")
    psi = w.FloatSlider(min=0, max=1.2, step=0.05, value=0.7, description="truncation")
    picture, label = w.Image(format="png"), w.HTML()

    def draw(*_):
        picture.value = png(to_pixels(drawn(first.value, second.value, layer.value, psi.value))[0])

    follow(label, draw, first, second, layer, psi)
    return w.VBox([w.HBox([picture]), first, second, layer, psi, label])       # a VBox alone would stretch it


# ---- what they share

def png(image):
    """uint8 [H, W, C], enlarged by a whole factor -> the bytes of a PNG."""
    scale = max(1, round(SHOWN / image.shape[0]))
    return encode_png(image.repeat(scale, 0).repeat(scale, 1))


def figure_png(figure, dpi=110):
    """A figure at the resolution of a screen, or one of images at its own, as a PNG's bytes."""
    stream = io.BytesIO()
    with figures.style():
        figure.savefig(stream, format="png", dpi=dpi)
    return stream.getvalue()


def uploaded(value):
    """(name, bytes) of the latest upload, or None; version 7 gives a dictionary by name, 8 a tuple."""
    if not value:
        return None
    name, entry = list(value.items())[-1] if isinstance(value, dict) else (value[-1]["name"], value[-1])
    return name, bytes(entry["content"])


def guarded(label, action):
    """`action`, whose UserErrors become the sentence in `label`."""
    def run(*arguments):
        try:
            with torch.no_grad():
                action(*arguments)
        except UserError as error:
            label.value = f"<b>{error}</b>"
    return run


def follow(label, draw, *sliders):
    """Calls draw(value of the first slider) now, and whenever the sliders have rested for WAIT seconds."""
    waiting, act = [], guarded(label, draw)

    def changed(_):
        while waiting:
            waiting.pop().cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:                          # no kernel: at once
            act(sliders[0].value)
        else:
            waiting.append(loop.call_later(WAIT, lambda: act(sliders[0].value)))

    for slider in sliders:
        slider.observe(changed, names="value")
    act(sliders[0].value)
