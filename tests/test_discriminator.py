"""The discriminator: derivatives, batches, minibatch deviation."""
import pytest
import torch
from restyle_lib.models import layers
from restyle_lib.models.stylegan2 import Discriminator

SMALL = {4: 12, 8: 10, 16: 8}


def test_discriminator_has_exact_second_derivatives():
    """R1 differentiates the squared gradient by the image with respect to the weights."""
    critic = Discriminator(8, channels={4: 3, 8: 2}).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    weight = critic.blocks[0].second.weight

    def penalty():
        gradient, = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
        return gradient.square().sum()
    exact, = torch.autograd.grad(penalty(), weight)
    direction, step = torch.randn_like(weight), 1e-5
    values = []
    for sign in (1, -1):
        weight.data += sign * step * direction
        values.append(penalty().item())
        weight.data -= sign * step * direction
    assert (values[0] - values[1]) / (2 * step) == pytest.approx((exact * direction).sum().item(), rel=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 5, 6, 8])
def test_discriminator_takes_any_batch(batch):
    assert Discriminator(16, channels=SMALL)(torch.randn(batch, 3, 16, 16)).shape == (batch, 1)


def test_minibatch_deviation_is_the_mean_deviation_of_a_group():
    x = torch.randn(8, 2, 4, 4)
    y = layers.minibatch_deviation(x, 4)
    assert torch.equal(y[:, :2], x)
    group = x[[1, 3, 5, 7]]  # images are dealt to the groups in turn
    want = (group - group.mean(0)).square().mean(0).add(1e-8).sqrt().mean()
    torch.testing.assert_close(y[[1, 3, 5, 7], 2], want.expand(4, 4, 4))
    assert layers.minibatch_deviation(x[:1].expand(4, -1, -1, -1), 4)[:, 2].max() < 1e-3
