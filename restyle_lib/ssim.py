"""Multi-scale structural similarity (Wang, Simoncelli, Bovik 2003), per image."""
import torch
import torch.nn.functional as F

from .errors import UserError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)              # Section 3.2, from fine to coarse
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.02 ** 2, 0.06 ** 2                                   # (0.01 L)^2 and (0.03 L)^2, L = 2


def scales(height, width):
    """How many of the five scales an image allows: halved each time, its shorter side still holds the window.

    UserError below 11 pixels; 64 pixels allow 3, 176 all five."""
    if min(height, width) < WINDOW:
        raise UserError(f"MS-SSIM needs images of at least {WINDOW} pixels a side, got {height}x{width}")
    return min(len(WEIGHTS), (min(height, width) // WINDOW).bit_length())


def ms_ssim(a, b, black=-1.0):
    """Images [B, C, H, W] in [-1, 1] twice -> [B], at most 1.

    Five scales where the shorter side allows (see `scales`), else fewer, their weights brought to a sum of 1.
    black: the value whose luminance is zero; published scripts pass [-1, 1] on unshifted, which is 0 here."""
    if a.shape != b.shape or a.dim() != 4:
        raise UserError("images to compare must have one shape [B, C, H, W], got "
                        f"{list(a.shape)} and {list(b.shape)}")
    count = scales(*a.shape[-2:])
    weights = torch.tensor(WEIGHTS[:count], device=a.device)
    a, b, kernel = a.float() - black, b.float() - black, _window().to(a.device)
    result = torch.ones(len(a), device=a.device)
    for scale, weight in enumerate(weights / weights.sum()):
        mean_a, mean_b = _filter(a, kernel), _filter(b, kernel)
        var_a = _filter(a * a, kernel) - mean_a.square()
        var_b = _filter(b * b, kernel) - mean_b.square()
        both = _filter(a * b, kernel) - mean_a * mean_b
        similarity = (2 * both + C2) / (var_a + var_b + C2)
        if scale == count - 1:
            similarity = similarity * (2 * mean_a * mean_b + C1) / (mean_a.square() + mean_b.square() + C1)
        result = result * similarity.mean(dim=(1, 2, 3)).clamp_min(0) ** weight
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return result


def _window():
    x = torch.arange(WINDOW, dtype=torch.float32) - WINDOW // 2
    kernel = torch.exp(-x.square() / (2 * SIGMA ** 2))
    return kernel / kernel.sum()


def _filter(x, kernel):
    channels = x.shape[1]
    rows = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    return F.conv2d(F.conv2d(x, rows, groups=channels), rows.transpose(2, 3), groups=channels)
