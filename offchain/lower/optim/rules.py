"""How each optimizer updates one parameter, in the order of operations of torch.optim's single-tensor form."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.optim import Optimizer

from offchain.lion import Lion
from offchain.lower.optim.changing import Changing

Options = Mapping[str, Any]
Buffers = dict[str, Tensor]
Rate = float | Tensor


@dataclass(frozen=True)
class Rule:
    """One class of optimizers.

    options  the options that it honours
    buffers  `buffers(options, parameter)`: initial value of each buffer of a parameter, by the name that torch gives it
    update   `update(parameter, gradient, buffers, options, lr, count) -> (parameter, buffers)`; `count`, an int32
             scalar, is the number of updates before this one; an option may be Changing
    whole    whether an update is more than elementwise: each parameter is then a tensor of its own
    """

    options: frozenset[str]
    buffers: Callable[[Options, Tensor], Buffers]
    update: Callable[[Tensor, Tensor, Buffers, Options, Rate, Tensor], tuple[Tensor, Buffers]]
    whole: bool = False


def _zeros(*names: str) -> Callable[[Options, Tensor], Buffers]:
    return lambda _, parameter: {name: torch.zeros_like(parameter) for name in names}


def _ascent(gradient: Tensor, o: Options) -> Tensor:
    return -gradient if o["maximize"] else gradient


def _penalised(gradient: Tensor, parameter: Tensor, o: Options) -> Tensor:
    """The gradient to descend, with weight decay as a part of it."""
    gradient = _ascent(gradient, o)
    return gradient + parameter * o["weight_decay"] if o["weight_decay"] else gradient


def _mixed(old: Tensor, new: Tensor, decay: float) -> Tensor:
    """decay·old + (1 − decay)·new, in the form of torch's lerp."""
    return old + (new - old) * (1 - decay)


def _squares(old: Tensor, gradient: Tensor, decay: float) -> Tensor:
    return old * decay + gradient * gradient * (1 - decay)


def _correction(beta: float | Changing, count: Tensor) -> Rate:
    """1 − β^(count+1) without cancellation."""
    if not beta:
        return 1.0
    logarithm = beta.each(math.log) if isinstance(beta, Changing) else math.log(beta)
    return -torch.expm1((count + 1).to(torch.float32) * logarithm)


def _sgd_buffers(o: Options, parameter: Tensor) -> Buffers:
    return {"momentum": torch.zeros_like(parameter)} if o["momentum"] else {}


def _sgd(p: Tensor, g: Tensor, b: Buffers, o: Options, lr: Rate, count: Tensor) -> tuple[Tensor, Buffers]:
    g = _penalised(g, p, o)
    if o["momentum"]:
        velocity = b["momentum"] * o["momentum"] + g * (1 - o["dampening"])
        if o["dampening"]:  # torch takes the first gradient whole
            velocity = torch.where(count == 0, g, velocity)
        b = {"momentum": velocity}
        g = g + velocity * o["momentum"] if o["nesterov"] else velocity
    return p - g * lr, b


def _adam_buffers(o: Options, parameter: Tensor) -> Buffers:
    names = ("exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if o["amsgrad"] else ()))
    return _zeros(*names)(o, parameter)


def _decayed(p: Tensor, g: Tensor, o: Options, lr: Rate) -> tuple[Tensor, Tensor]:
    """Parameter and gradient after weight decay of either kind."""
    if o["decoupled_weight_decay"]:
        return (p * (1 - lr * o["weight_decay"]) if o["weight_decay"] else p), _ascent(g, o)
    return p, _penalised(g, p, o)


def _adam(p: Tensor, g: Tensor, b: Buffers, o: Options, lr: Rate, count: Tensor) -> tuple[Tensor, Buffers]:
    beta1, beta2 = o["betas"]
    p, g = _decayed(p, g, o, lr)
    mean, square = _mixed(b["exp_avg"], g, beta1), _squares(b["exp_avg_sq"], g, beta2)
    new = {"exp_avg": mean, "exp_avg_sq": square}
    if o["amsgrad"]:
        square = new["max_exp_avg_sq"] = torch.maximum(b["max_exp_avg_sq"], square)
    root = torch.as_tensor(_correction(beta2, count)).sqrt()
    rate = lr / _correction(beta1, count)
    return p - mean / (square.sqrt() / root + o["eps"]) * rate, new


def _nadam_buffers(o: Options, parameter: Tensor) -> Buffers:
    return {**_zeros("exp_avg", "exp_avg_sq")(o, parameter), "mu_product": torch.ones(())}


def _nadam(p: Tensor, g: Tensor, b: Buffers, o: Options, lr: Rate, count: Tensor) -> tuple[Tensor, Buffers]:
    beta1, beta2 = o["betas"]
    p, g = _decayed(p, g, o, lr)
    mean, square = _mixed(b["exp_avg"], g, beta1), _squares(b["exp_avg_sq"], g, beta2)
    mu, mu_next = (
        beta1 * (1 - 0.5 * torch.exp((count + ahead).to(torch.float32) * (o["momentum_decay"] * math.log(0.96))))
        for ahead in (1, 2)
    )
    product = b["mu_product"] * mu
    denominator = (square / _correction(beta2, count)).sqrt() + o["eps"]
    p = p - g / denominator * (lr * (1 - mu) / (1 - product))
    p = p - mean / denominator * (lr * mu_next / (1 - product * mu_next))
    return p, {"exp_avg": mean, "exp_avg_sq": square, "mu_product": product}


def _adamax(p: Tensor, g: Tensor, b: Buffers, o: Options, lr: Rate, count: Tensor) -> tuple[Tensor, Buffers]:
    beta1, beta2 = o["betas"]
    g = _penalised(g, p, o)
    mean = _mixed(b["exp_avg"], g, beta1)
    largest = torch.maximum(b["exp_inf"] * beta2, g.abs() + o["eps"])
    return p - mean / largest * (lr / _correction(beta1, count)), {"exp_avg": mean, "exp_inf": largest}


def _lion(p: Tensor, g: Tensor, b: Buffers, o: Options, lr: Rate, count: Tensor) -> tuple[Tensor, Buffers]:
    beta1, beta2 = o["betas"]
    g, average = _ascent(g, o), b["exp_avg"]
    p = p * (1 - lr * o["weight_decay"]) if o["weight_decay"] else p
    return p - _mixed(average, g, beta1).sign() * lr, {"exp_avg": _mixed(average, g, beta2)}


def _rmsprop_buffers(o: Options, parameter: Tensor) -> Buffers:
    momentum, centered = ("momentum_buffer",) if o["momentum"] else (), ("grad_avg",) if o["centered"] else ()
    return _zeros("square_avg", *momentum, *centered)(o, parameter)


def _rmsprop(p: Tensor, g: Tensor, b: Buffers, o: Options, lr: Rate, count: Tensor) -> tuple[Tensor, Buffers]:
    g = _penalised(g, p, o)
    new = {"square_avg": _squares(b["square_avg"], g, o["alpha"])}
    variance = new["square_avg"]
    if o["centered"]:
        new["grad_avg"] = _mixed(b["grad_avg"], g, o["alpha"])
        variance = variance - new["grad_avg"] * new["grad_avg"]
    move = g / (variance.sqrt() + o["eps"])
    if o["momentum"]:
        move = new["momentum_buffer"] = b["momentum_buffer"] * o["momentum"] + move
    return p - move * lr, new


def _adagrad(p: Tensor, g: Tensor, b: Buffers, o: Options, lr: Rate, count: Tensor) -> tuple[Tensor, Buffers]:
    g = _penalised(g, p, o)
    total = b["sum"] + g * g
    rate = lr / (1 + count.to(torch.float32) * o["lr_decay"]) if o["lr_decay"] else lr
    return p - g / (total.sqrt() + o["eps"]) * rate, {"sum": total}


def _adagrad_buffers(o: Options, parameter: Tensor) -> Buffers:
    return {"sum": torch.full_like(parameter, o["initial_accumulator_value"])}


def _adadelta(p: Tensor, g: Tensor, b: Buffers, o: Options, lr: Rate, count: Tensor) -> tuple[Tensor, Buffers]:
    g = _penalised(g, p, o)
    square = _squares(b["square_avg"], g, o["rho"])
    delta = (b["acc_delta"] + o["eps"]).sqrt() / (square + o["eps"]).sqrt() * g
    return p - delta * lr, {"square_avg": square, "acc_delta": _squares(b["acc_delta"], delta, o["rho"])}


def _rule(options: str, buffers: Callable[[Options, Tensor], Buffers], update: Any) -> Rule:
    return Rule(frozenset(("lr", "weight_decay", "maximize", *options.split())), buffers, update)


_ADAM: Final = _rule("betas eps amsgrad decoupled_weight_decay", _adam_buffers, _adam)
ELEMENTWISE_RULES: Final[dict[type[Optimizer], Rule]] = {
    torch.optim.SGD: _rule("momentum dampening nesterov", _sgd_buffers, _sgd),
    torch.optim.Adam: _ADAM,
    torch.optim.AdamW: _ADAM,
    torch.optim.NAdam: _rule("betas eps momentum_decay decoupled_weight_decay", _nadam_buffers, _nadam),
    torch.optim.Adamax: _rule("betas eps", _zeros("exp_avg", "exp_inf"), _adamax),
    torch.optim.RMSprop: _rule("alpha eps centered momentum", _rmsprop_buffers, _rmsprop),
    torch.optim.Adagrad: _rule("lr_decay initial_accumulator_value eps", _adagrad_buffers, _adagrad),
    torch.optim.Adadelta: _rule("rho eps", _zeros("square_avg", "acc_delta"), _adadelta),
    Lion: _rule("betas", _zeros("exp_avg"), _lion),
}
