"""Schedule-Free SGD, an optimizer with two sets of weights, as a user would bring it along."""

import torch


class ScheduleFreeSGD(torch.optim.Optimizer):
    """Defazio et al. 2024, arXiv 2405.15682, equations 1 to 3.

    The model holds y in training mode and x in evaluation mode. Only y and z are kept, so that
    going to x and back rounds. It begins in evaluation mode, and refuses to make a step there.
    """

    def __init__(self, params, lr: float = 0.5, beta: float = 0.9):
        super().__init__(params, {"lr": lr, "beta": beta, "steps": 0, "is_training": False})

    @torch.no_grad()
    def train(self):
        self._interpolate(True, lambda group: 1 - group["beta"])

    @torch.no_grad()
    def eval(self):
        self._interpolate(False, lambda group: 1 - 1 / group["beta"])

    def _interpolate(self, is_training, weight):
        for group in self.param_groups:
            if group["is_training"] is not is_training:
                for y in group["params"]:
                    if "z" in self.state[y]:
                        y.lerp_(self.state[y]["z"], weight(group))
                group["is_training"] = is_training

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            if not group["is_training"]:
                raise RuntimeError("call train() before step()")
            lr, beta = group["lr"], group["beta"]
            group["steps"] += 1
            share = 1 / group["steps"]
            for y in group["params"]:
                z = self.state[y].setdefault("z", y.detach().clone())
                x = y.lerp(z, 1 - 1 / beta)
                z.sub_(y.grad, alpha=lr)
                x.lerp_(z, share)
                y.copy_(x.lerp_(z, 1 - beta))
