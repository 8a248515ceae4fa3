"""IDInvert's judge of images (Zhu et al. 2020, Section 3.1): reconstructions are to pass for real images."""
import torch
import torch.nn.functional as F

from ..models.stylegan2 import Discriminator
from .critic import Critic


class ImageCritic(Critic):
    """A StyleGAN2 discriminator of images at encoder size, with its Adam; saved and restored as one part.

    It learns on the images of each iteration and on the last reconstructions that it was shown, after the
    encoder. As for the embedded generators: R1 of weight 1 every 16 iterations; rate and betas allow for it
    (StyleGAN2, Appendix B)."""

    def __init__(self, domain, generator, device="cpu", *, lr=2.5e-3, penalty=1.0, every=16):
        self.side = max(8, 1 << (max(domain.encoder_size) - 1).bit_length())
        widths = generator.config["channels"]
        widths = {2**i: widths.get(2**i, min(widths.values())) for i in range(2, self.side.bit_length())}
        net = Discriminator(self.side, channels=widths, image_channels=domain.channels).to(device)
        share = every / (every + 1) if penalty else 1.0
        adam = torch.optim.Adam(net.parameters(), lr=lr * share, betas=(0.0, 0.99**share))
        super().__init__(net, adam, word="image", penalty=penalty, every=every)
        self.shown = None

    def judge(self, images):
        """images [B, C, H, W], on a black square -> logits [B, 1]."""
        height, width = images.shape[2:]
        top, left = (self.side - height) // 2, (self.side - width) // 2
        around = (left, self.side - width - left, top, self.side - height - top)
        return self.net(F.pad(images, around, value=-1.0))

    def weighted(self, weight):
        """The encoder's term: (output, ...) -> (weight x loss, {"image_adversarial": loss}), as a LossSet."""
        def losses(output, *_, **__):
            self.shown = output.detach()
            loss = F.softplus(-self.judge(output)).mean()
            return weight * loss, {"image_adversarial": loss.detach()}
        return losses

    def step(self, real, number):
        """One update on real images and those last shown -> {term: value}; accuracy: the share told apart."""
        terms, logits = self.learn(real, self.shown, number)
        return terms | {"image_accuracy": torch.cat([logits[0] > 0, logits[1] < 0]).float().mean()}
