"""Looking at an encoder while it trains: errors of every step on held-out images, and a film strip."""
import json

import numpy as np
import torch

from ..files import atomic
from ..metrics import l2, region_l2, to_floats
from ..pixels import write_grid

STRIP = 8       # images in a film strip


class Validation:
    """Held-out uint8 images [n, H, W, C] and masks {region: [n, H, W]}; writes folder/validation.jsonl.

    Its rows and the best loss so far are part of a run's state."""

    def __init__(self, trainer, images, masks, folder, batch=32):
        self.trainer, self.images, self.masks = trainer, images, masks or {}
        self.folder, self.size, self.rows, self.best = folder, batch, [], float("inf")

    def _invert(self, first, step, count):
        """(images, Trajectory) of some held-out images, as the exported encoder would invert them."""
        trainer = self.trainer
        trainer.encoder.eval()
        trainer.encoder.stage = trainer.stage(max(0, step - 1))
        rows = range(first, min(first + count, len(self.images)))
        images = to_floats(np.stack([self.images[row] for row in rows]), trainer.device)
        return images, trainer.inverter(images, trainer.c.steps)

    @torch.no_grad()
    def __call__(self, step):
        """Adds a row {"step", "l2" [T+1], "loss" (last step), "regions" {name: [T+1]}} -> is it the best?"""
        errors, regions, losses = [], {name: [] for name in self.masks}, []
        for first in range(0, len(self.images), self.size):
            images, trajectory = self._invert(first, step, self.size)
            errors.append(torch.stack([l2(y, images) for y in trajectory.images]))
            for name, masks in self.masks.items():
                inside = torch.as_tensor(np.asarray(masks[first:first + len(images)]), device=images.device)
                regions[name].append(torch.stack([region_l2(y, images, inside) for y in trajectory.images]))
            loss, _ = self.trainer.losses(trajectory.images[-1], images, latent=trajectory.latents[-1],
                                          stage=self.trainer.encoder.stage)
            losses += [float(loss)] * len(images)
        row = {"step": step, "loss": float(np.mean(losses)), "l2": torch.cat(errors, 1).mean(1).tolist()}
        if regions:
            row["regions"] = {n: torch.cat(parts, 1).nanmean(1).tolist() for n, parts in regions.items()}
        self.rows.append(row)
        with atomic(self.folder / "validation.jsonl", "w") as stream:
            stream.writelines(json.dumps(r) + "\n" for r in self.rows)
        better = row["loss"] < self.best
        self.best = min(self.best, row["loss"])
        return better

    def strip(self, step):
        """Writes samples/STEP.png: a row for each image, the input, then the start and every step."""
        images, trajectory = self._invert(0, step, STRIP)
        rows = torch.cat([images[None], trajectory.images]).transpose(0, 1)
        write_grid(rows.flatten(0, 1), self.folder / "samples" / f"{step:09d}.png", columns=rows.shape[1])

    def state_dict(self):
        return {"rows": self.rows, "best": self.best}

    def load_state_dict(self, state):
        self.rows, self.best = list(state["rows"]), state["best"]
