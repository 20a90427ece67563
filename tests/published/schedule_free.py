"""AdamWScheduleFree as facebookresearch/schedule_free publishes it, both its forms; closures left out."""

import torch
import torch.optim


class AdamWScheduleFree(torch.optim.Optimizer):
    def __init__(
        self,
        params,
        lr=0.0025,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        warmup_steps=0,
        r=0.0,
        weight_lr_power=2.0,
        foreach=True,
    ):
        defaults = dict(  # noqa: C408
            lr=lr,
            betas=betas,
            eps=eps,
            r=r,
            k=0,
            warmup_steps=warmup_steps,
            train_mode=False,
            weight_sum=0.0,
            lr_max=-1.0,
            scheduled_lr=0.0,
            weight_lr_power=weight_lr_power,
            weight_decay=weight_decay,
            foreach=foreach,
        )
        super().__init__(params, defaults)

    @torch.no_grad()
    def train(self):
        for group in self.param_groups:
            train_mode = group["train_mode"]
            beta1, _ = group["betas"]
            if not train_mode:
                for p in group["params"]:
                    state = self.state[p]
                    if "z" in state:
                        p.lerp_(end=state["z"].to(p.device), weight=1 - beta1)
                group["train_mode"] = True

    @torch.no_grad()
    def step(self, closure=None):
        if not self.param_groups[0]["train_mode"]:
            raise Exception("Optimizer was not in train mode when step is called.")
        for group in self.param_groups:
            eps = group["eps"]
            beta1, beta2 = group["betas"]
            decay = group["weight_decay"]
            k = group["k"]
            r = group["r"]
            warmup_steps = group["warmup_steps"]
            weight_lr_power = group["weight_lr_power"]
            sched = (k + 1) / warmup_steps if k < warmup_steps else 1.0
            bias_correction2 = 1 - beta2 ** (k + 1)
            lr = group["lr"] * sched
            group["scheduled_lr"] = lr
            lr_max = group["lr_max"] = max(lr, group["lr_max"])
            weight = ((k + 1) ** r) * (lr_max**weight_lr_power)
            weight_sum = group["weight_sum"] = group["weight_sum"] + weight
            try:
                ckp1 = weight / weight_sum
            except ZeroDivisionError:
                ckp1 = 0
            active_p = [p for p in group["params"] if p.grad is not None]
            for p in active_p:
                if "z" not in self.state[p]:
                    self.state[p]["z"] = torch.clone(p, memory_format=torch.preserve_format)
                    self.state[p]["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            if group["foreach"] and len(active_p) > 0:
                self.lists(active_p, beta1, beta2, bias_correction2, eps, decay, lr, ckp1)
            else:
                self.singles(active_p, beta1, beta2, bias_correction2, eps, decay, lr, ckp1)
            group["k"] = k + 1

    def lists(self, active_p, beta1, beta2, bias_correction2, eps, decay, lr, ckp1):
        y, grad, exp_avg_sq, z = zip(
            *[(p, p.grad, self.state[p]["exp_avg_sq"], self.state[p]["z"]) for p in active_p], strict=True
        )
        torch._foreach_mul_(exp_avg_sq, beta2)
        torch._foreach_addcmul_(exp_avg_sq, grad, grad, value=1 - beta2)
        denom = torch._foreach_div(exp_avg_sq, bias_correction2)
        torch._foreach_sqrt_(denom)
        torch._foreach_add_(denom, eps)
        torch._foreach_div_(grad, denom)
        if decay != 0:
            torch._foreach_add_(grad, y, alpha=decay)
        torch._foreach_lerp_(y, z, weight=ckp1)
        torch._foreach_add_(y, grad, alpha=lr * (beta1 * (1 - ckp1) - 1))
        torch._foreach_sub_(z, grad, alpha=lr)

    def singles(self, active_p, beta1, beta2, bias_correction2, eps, decay, lr, ckp1):
        for p in active_p:
            y = p
            grad = p.grad
            state = self.state[p]
            z = state["z"]
            exp_avg_sq = state["exp_avg_sq"]
            exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            denom = exp_avg_sq.div(bias_correction2).sqrt_().add_(eps)
            grad_normalized = grad.div_(denom)
            if decay != 0:
                grad_normalized.add_(y, alpha=decay)
            y.lerp_(end=z, weight=ckp1)
            y.add_(grad_normalized, alpha=lr * (beta1 * (1 - ckp1) - 1))
            z.sub_(grad_normalized, alpha=lr)
