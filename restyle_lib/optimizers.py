"""Ranger, the optimiser of pSp, e4e and ReStyle: RAdam, Lookahead and gradient centralisation in one."""
import math

import torch


class Ranger(torch.optim.Optimizer):
    """RAdam (Liu et al. 2020), Lookahead (Zhang et al. 2019) and centralised gradients (Yong et al. 2020).

    Defaults are those of the published training (Ranger 20.4): every `k` steps the slow weights go `alpha` of
    the way to the fast ones, which restart there. With alpha = 1, centralise = False: torch.optim.RAdam."""

    def __init__(self, params, lr=1e-4, *, alpha=0.5, k=6, threshold=5.0, betas=(0.95, 0.999), eps=1e-5,
                 weight_decay=0.0, centralise=True):
        super().__init__(params, dict(lr=lr, alpha=alpha, k=k, threshold=threshold, betas=betas, eps=eps,
                                      weight_decay=weight_decay, centralise=centralise))

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, self.state[parameter], group)
        return loss

    def _update(self, parameter, state, group):
        gradient = parameter.grad
        if group["centralise"] and gradient.ndim > 1:
            gradient = gradient - gradient.mean(tuple(range(1, gradient.ndim)), keepdim=True)
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter),
                         slow=parameter.clone())
        state["step"] += 1
        beta1, beta2 = group["betas"]
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        if group["weight_decay"]:
            parameter.mul_(1 - group["weight_decay"] * group["lr"])
        size = group["lr"] / (1 - beta1 ** state["step"])
        rectification = rectify(state["step"], beta2, group["threshold"])
        if rectification is None:
            parameter.add_(state["mean"], alpha=-size)
        else:
            deviation = state["square"].sqrt().add_(group["eps"])
            parameter.addcdiv_(state["mean"], deviation, value=-size * rectification)
        if state["step"] % group["k"] == 0:
            state["slow"].lerp_(parameter, group["alpha"])
            parameter.copy_(state["slow"])


def rectify(step, beta2, threshold=5.0):
    """RAdam's factor on the adaptive step, the second moment's bias correction included.

    None while the variance of that step is intractable: the moving average is no longer than `threshold`."""
    decay = beta2**step
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * decay / (1 - decay)
    if length <= threshold:
        return None
    variance = (length - 4) / (longest - 4) * (length - 2) / length * longest / (longest - 2)
    return math.sqrt((1 - decay) * variance)
