"""ReStyle's iterative refinement, Equations 1-4 of Section 3: the only loop; all that iterates calls it."""
import time
from typing import NamedTuple

import torch

from .errors import UserError
from .trajectory import Trajectory


class Step(NamedTuple):
    """What one step gives for a batch of B images."""
    residual: torch.Tensor    # [B, k, d], Delta_t of Equation 2
    latent: torch.Tensor      # [B, k, d], w_t of Equation 3
    image: torch.Tensor       # [B, C, H, W] in [-1, 1], y_t of Equation 4


def step(encode, synthesize, images, latent, reconstruction, base=None):
    """From w_t [B, k, d] and its image y_t to w_t+1 and y_t+1; `images`, y: [B, C, H, W] in [-1, 1]. -> Step

    What comes in is detached: no gradient flows from one step to the one before (as published).
    base [k, d]: what an ablation adds codes to in place of w_t."""
    latent, reconstruction = latent.detach(), reconstruction.detach()
    residual = encode(torch.cat([images, reconstruction], dim=1))             # Equations 1 and 2
    if residual.shape != latent.shape:
        raise UserError(f"the encoder gives latents {list(residual.shape)}, not {list(latent.shape)}")
    residual = residual if base is None else residual + (base - latent)
    latent = latent + residual                                                # Equation 3
    return Step(residual, latent, synthesize(latent))                         # Equation 4


def one_pass(encoder, channels):
    """A conventional encoder of `channels` inputs, offered the reconstruction too, which it does not see."""
    return lambda pair: encoder(pair[:, :channels])


@torch.no_grad()
def refine(encode, synthesize, images, start, *, start_images=None, steps, tolerance=0.0, callback=None,
           timed=False, base=None):
    """Inverts `images` [B, C, H, W] in [-1, 1] in T = `steps` steps -> Trajectory. Raises UserError.

    encode: [B, 2C, H, W] -> residuals [B, k, d]. synthesize: [B, k, d] -> [B, C, H, W], pooled from full.
    start: [k, d] or [B, k, d]; start_images: its image, [C, H, W] or [B, C, H, W], or synthesize(start).
    tolerance: an image is done when the RMS of its residual is below tolerance x the standard deviation
    of its w; it leaves the batch, its later rows repeat. callback(t, Step, active [n] rows): every step.
    timed: seconds [T+1, B] so far, a batch's divided among its images (warm up before). base: see `step`."""
    if steps < 1:
        raise UserError(f"steps={steps}: at least 1 step is needed")
    batch, started = len(images), _now(images, timed)
    latent = start if start.dim() == 3 else start[None]
    image = synthesize(latent) if start_images is None else start_images
    latent, image = latent.expand(batch, -1, -1), image.expand(batch, -1, -1, -1)
    if image.shape != images.shape:
        raise UserError(f"the start's image is {list(image.shape[1:])}, the images are "
                        f"{list(images.shape[1:])}")
    latents, pictures = [latent], [image]
    seconds = [torch.full([batch], (_now(images, timed) - started) / batch, dtype=torch.float64)]
    stopped_at = torch.full([batch], steps)
    active = torch.arange(batch, device=images.device)
    for t in range(1, steps + 1):
        latents.append(latents[-1].clone())
        pictures.append(pictures[-1].clone())
        seconds.append(seconds[-1].clone())
        if not len(active):
            continue
        started = _now(images, timed)
        now = step(encode, synthesize, images[active], latent, image, base)
        seconds[t][active.cpu()] += (_now(images, timed) - started) / len(active)
        latents[t][active], pictures[t][active] = now.latent, now.image
        if callback is not None:
            callback(t, now, active)
        done = now.residual.square().mean((1, 2)).sqrt() < tolerance * now.latent.std((1, 2), correction=0)
        stopped_at[active[done].cpu()] = t
        active, latent, image = active[~done], now.latent[~done], now.image[~done]
    return Trajectory(torch.stack(pictures), torch.stack(latents), stopped_at=stopped_at,
                      seconds=torch.stack(seconds) if timed else None)


def _now(images, timed):
    if timed and images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter() if timed else 0.0
