"""What a step does to the weights: the papers' optimizers and the running average, with a state that can be kept."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from topfive.recipes.recipe import AdamW, Muon, Recipe, RmsProp, Sgd

OPTIMIZER, AVERAGE = "optimizer.", "average."


class Optimizer:
    """Changes the weights of `model` by `recipe`, step by step; `averaged` is the model that is evaluated."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        self.model, self.recipe = model, recipe
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizers = _optimizers(self.named, recipe.optimizer)
        floats = (name for name, t in model.state_dict().items() if t.is_floating_point())
        self.average = {name: model.state_dict()[name].clone() for name in floats} if recipe.ema_decay else {}
        self.steps = 0

    def step(self, lr: float) -> None:
        """One step along the gradients, which are cleared."""
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.named.values(), self.recipe.clip)
        inside = isinstance(self.recipe.optimizer, Sgd) and self.recipe.optimizer.lr_in_velocity
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                if inside and lr != group["lr"] and group["lr"]:
                    # why: torch keeps v / lr; with the rate inside of the velocity v is what outlives a change of rate
                    _scale((optimizer.state[p].get("momentum_buffer") for p in group["params"]), group["lr"] / lr)
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad()
        self.steps += 1
        if self.average:
            kept = min(self.recipe.ema_decay, (1 + self.steps) / (10 + self.steps))  # little while there is little
            now = self.model.state_dict()  # why anew: of towers it is made of the halves each time
            torch._foreach_lerp_(list(self.average.values()), [now[name] for name in self.average], 1 - kept)

    def averaged(self) -> nn.Module:
        """The model itself, or a copy with the averaged weights where the recipe averages."""
        if not self.average:
            return self.model
        copied = copy.deepcopy(self.model)
        copied.load_state_dict(self.average, strict=False)
        return copied

    def state(self) -> dict[str, Tensor]:
        """All that a later run needs beside the model."""
        found = {f"{AVERAGE}{name}": tensor for name, tensor in self.average.items()}
        for name, p in self.named.items():
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(p, {}).items():
                    if isinstance(value, Tensor):
                        found[f"{OPTIMIZER}{key}.{name}"] = value
        return found

    def restore(self, tensors: Mapping[str, Tensor], steps: int, lr: float) -> None:
        """Go on from what `state` gave after `steps` steps, the last one at `lr`."""
        self.steps = steps
        groups = [(optimizer, group) for optimizer in self.optimizers for group in optimizer.param_groups]
        for _, group in groups:
            group["lr"] = lr
        owners = {p: optimizer for optimizer, group in groups for p in group["params"]}
        for key, tensor in tensors.items():
            if key.startswith(AVERAGE):
                self.average[key.removeprefix(AVERAGE)].copy_(tensor)
                continue
            what, _, name = key.removeprefix(OPTIMIZER).partition(".")
            p = self.named[name]
            like = tensor.shape == p.shape  # then it has its kernel's memory format, too
            owners[p].state[p][what] = (
                torch.empty_like(p, dtype=tensor.dtype).copy_(tensor) if like else tensor.to(p.device)
            )


class RmsPropInside(torch.optim.Optimizer):
    """RmsProp with eps inside of the root, as its papers ran it: torch's has it outside, which differs for 1.0."""

    def __init__(self, params: Iterable[Any], about: RmsProp) -> None:
        super().__init__(params, {"lr": 0.0, "weight_decay": 0.0})
        self.about = about

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        about = self.about
        for group in self.param_groups:
            ps = [p for p in group["params"] if p.grad is not None]
            for p in ps:
                if not self.state[p]:
                    self.state[p] = {"square": torch.ones_like(p), "velocity": torch.zeros_like(p)}
            grads = [p.grad for p in ps]
            if group["weight_decay"]:
                grads = list(torch._foreach_add(grads, ps, alpha=group["weight_decay"]))
            squares, velocities = ([self.state[p][key] for p in ps] for key in ("square", "velocity"))
            torch._foreach_mul_(squares, about.decay)
            torch._foreach_addcmul_(squares, grads, grads, 1 - about.decay)
            roots = torch._foreach_sqrt(torch._foreach_add(squares, about.eps))
            torch._foreach_mul_(velocities, about.momentum)
            torch._foreach_addcdiv_(velocities, grads, roots, group["lr"])
            torch._foreach_sub_(ps, velocities)


class Orthogonal(torch.optim.Optimizer):
    """Muon's steps for kernels of convolutions; torch's own takes matrices only."""

    def __init__(self, params: Iterable[Any], about: Muon) -> None:
        super().__init__(params, {"lr": 0.0, "weight_decay": about.weight_decay})
        self.momentum = about.momentum

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            ps = [p for p in group["params"] if p.grad is not None]
            if not ps:
                continue
            for p in ps:
                if not self.state[p]:
                    self.state[p] = {"velocity": torch.zeros_like(p)}
            grads = [p.grad for p in ps]
            velocities = [self.state[p]["velocity"] for p in ps]
            torch._foreach_mul_(velocities, self.momentum)
            torch._foreach_add_(velocities, grads)
            along = torch._foreach_add(grads, velocities, alpha=self.momentum)
            changes = orthogonal([change.flatten(1) for change in along])
            torch._foreach_mul_(changes, [group["lr"] * 0.2 * max(change.shape) ** 0.5 for change in changes])
            torch._foreach_mul_(ps, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(ps, [change.view_as(p) for p, change in zip(ps, changes)])


def orthogonal(matrices: Sequence[Tensor]) -> list[Tensor]:
    """`(R, C)` each: about U V' of each matrix U S V': singular values that are not near 0 become about 1.

    Five steps of a polynomial that is steep at 0. Source: Jordan et al. 2024, kellerjordan.github.io/posts/muon.
    """
    # why: a step X -> (a + b XX' + c XX'XX') X keeps the singular vectors, so that its factors may be gathered on the
    # small side: two products with X instead of ten, and all the rest at once for matrices of a side, whatever their
    # long side is: of small kernels calls cost more than products
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT for matrix in matrices]
    norms = torch.stack(torch._foreach_norm(wide)).clamp(min=1e-7)
    wide = list(torch._foreach_div(wide, list(norms.unbind())))
    sides: dict[int, list[int]] = {}
    for i, matrix in enumerate(wide):
        sides.setdefault(len(matrix), []).append(i)
    for alike in sides.values():
        square = torch.stack([wide[i] @ wide[i].mT for i in alike])
        factors = torch.eye(len(square[0]), device=square.device, dtype=square.dtype).expand_as(square)
        for left in reversed(range(5)):
            factor = torch.baddbmm(square, square, square, beta=-4.7750, alpha=2.0315)
            factor.diagonal(dim1=1, dim2=2).add_(3.4445)
            factors = factor @ factors
            if left:
                square = factor @ square @ factor
        for i, product in zip(alike, factors):
            wide[i] = product @ wide[i]
    return [w if w.shape == m.shape else w.mT.contiguous() for w, m in zip(wide, matrices)]


def _optimizers(named: Mapping[str, nn.Parameter], about: Sgd | RmsProp | AdamW | Muon) -> list[torch.optim.Optimizer]:
    if isinstance(about, Muon):
        kernels = [p for p in named.values() if p.ndim == 4]
        rest = {name: p for name, p in named.items() if p.ndim != 4}
        others = _optimizer(rest, AdamW(weight_decay=about.weight_decay))
        return [Orthogonal(kernels, about), others] if kernels else [others]
    return [_optimizer(named, about)]


def _optimizer(named: Mapping[str, nn.Parameter], about: Sgd | RmsProp | AdamW) -> torch.optim.Optimizer:
    everything = about.decay_all if isinstance(about, Sgd) else False
    decayed = [p for p in named.values() if p.ndim > 1 or everything]
    rest = [p for p in named.values() if p.ndim <= 1 and not everything]
    groups = [{"params": decayed, "weight_decay": about.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    match about:
        case Sgd():
            return torch.optim.SGD(
                [group for group in groups if group["params"]],
                lr=0.0,
                momentum=about.momentum,
                nesterov=about.nesterov,
                fused=True,  # one pass over the weights instead of five
            )
        case RmsProp():
            return RmsPropInside(groups, about)
        case AdamW():
            betas = about.beta1, about.beta2
            return torch.optim.AdamW(
                [group for group in groups if group["params"]], lr=0.0, betas=betas, eps=about.eps, fused=True
            )
        case _:
            assert_never(about)


def _scale(buffers: Iterable[Tensor | None], factor: float) -> None:
    there = [buffer for buffer in buffers if buffer is not None]
    if there:
        torch._foreach_mul_(there, factor)
