"""A method of one's own: `registry.get("restyle_lib.methods.example:average", domain)`."""
from ..inverter import draw_row
from ..trajectory import Trajectory


def average(images, generator, domain):
    """Answers every image [B, C, H, W] with the average style's: where all the others start."""
    latent = generator.w_mean.expand(1, len(images), -1, -1)
    return Trajectory(draw_row(generator, domain, latent[0])[None], latent)
