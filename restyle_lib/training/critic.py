"""What the discriminators beside an encoder share: an update, R1 in a step of its own, their state."""
from ..losses import discriminator_loss, r1


class Critic:
    """A discriminator `net` with its optimizer. penalty: R1's weight, every so many iterations; word: of its
    terms. `judge` gives its logits."""

    def __init__(self, net, optimizer, *, word, penalty, every):
        self.net, self.optimizer = net.requires_grad_(False), optimizer
        self.word, self.penalty, self.every = word, penalty, every

    def judge(self, x):
        return self.net(x)

    def learn(self, real, fake, number):
        """One update on real and false ones, without gradients -> ({term: value}, their logits)."""
        logits = []

        def judge(x):
            logits.append(self.judge(x))
            return logits[-1]
        self.net.requires_grad_(True)
        loss = discriminator_loss(judge, real, fake)
        self._update(loss)
        terms = {f"{self.word}_d": loss.detach()}
        if self.penalty and number % self.every == 0:
            slope = r1(self.judge, real)
            self._update(slope * (self.penalty / 2 * self.every))
            terms[f"{self.word}_r1"] = slope.detach()
        self.net.requires_grad_(False)
        return terms, logits

    def _update(self, loss):
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def state_dict(self):
        return {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state):
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
