"""A toy domain of 16 pixels, its generator and images, and an encoder's training on them."""
import dataclasses

import torch

from restyle_lib.checkpoints.own import load_model
from restyle_lib.domains import Domain
from restyle_lib.models.features import IdentityNet, PerceptualNet
from restyle_lib.models.stylegan2 import Generator
from restyle_lib.training.encoder import EncoderTrainer, EncoderTraining, train_encoder

TINY = EncoderTraining(steps=3, batch=2, iterations=4, lr=1e-3, noise="const", batch_norm="frozen",
                       log_every=1, validate_every=2, sample_every=4, save_every=3)
DOMAIN = Domain(name="toy", train="toy", resolution=16, encoder_size=(16, 16), backbone="irse_small",
                head_channels=8, flip=False, losses={"l2": 1.0})
FULL = dataclasses.replace(TINY, progressive=True, progressive_start=2, progressive_every=1, adversarial=0.1,
                           delta_norm=2e-4, noise="random", batch_norm="train", cooldown=0.5,
                           gradient_shares=1, iterations=5)


def generator(channels=3):
    torch.manual_seed(3)
    network = Generator(16, z_dim=12, w_dim=12, mapping_layers=2, channels={4: 8, 8: 8, 16: 8},
                        image_channels=channels)
    network.estimate_w_mean(200)
    return network.eval()


def pictures(count, domain=DOMAIN):
    """Samples of the generator, as the toy domain sees them: uint8 [count, H, W, C]."""
    network = generator(domain.channels)
    top, bottom, left, right = domain.crop
    with torch.no_grad():
        z = torch.randn(count, 12, generator=torch.Generator().manual_seed(5))
        images = network(network.mapping(z))[:, :, top:bottom, left:right]
    return images.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def networks():
    torch.manual_seed(7)
    return {"perceptual": PerceptualNet((16, 16), [4, 4, 8, 8, 8]),
            "identity": IdentityNet((16, 16), [8, 8, 8, 8])}


def trainer(config=TINY, losses=None, domain=DOMAIN, count=8, **given):
    return EncoderTrainer(pictures(count, domain), config, domain, generator(domain.channels),
                          losses or {"l2": 1.0}, given, torch.device("cpu"))


def train(out, config=TINY, count=8, domain=DOMAIN, **more):
    more = {"generator": generator(domain.channels), "headless": True} | more
    return train_encoder(pictures(count, domain), out, config, domain=domain, **more)


def tensors(folder):
    return load_model(folder, "encoder")[0].state_dict()


def gradients(encoder):
    return torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])
