"""What a step does, against the papers' formulas written out in plain numbers."""

import pytest
import torch
from torch import nn

from topfive.engine.training.optimizers import Optimizer, orthogonal
from topfive.recipes.recipe import AdamW, Muon, Recipe, RmsProp, Sgd

RATES = [0.1, 0.1, 0.1, 0.01, 0.01, 0.02]  # of six steps: the rate changes twice


class Point(nn.Module):
    """One weight of a kernel and one of a bias, so that weight decay shows whom it is for."""

    def __init__(self, dimensions: int = 2) -> None:
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.full((1,) * dimensions, 2.0)), nn.Parameter(torch.tensor([1.0]))
        self.register_buffer("seen", torch.tensor([0.0]))


def gradients(step: int) -> tuple[float, float]:
    return 0.3 * (-1) ** step + 0.1 * step, 0.2 - 0.05 * step


def weights(recipe: Recipe) -> list[tuple[float, float]]:
    point = Point()
    learner, found = Optimizer(point, recipe), []
    for step, rate in enumerate(RATES):
        point.kernel.grad, point.bias.grad = (
            torch.full_like(p, g) for p, g in zip((point.kernel, point.bias), gradients(step))
        )
        learner.step(rate)
        found.append((point.kernel.item(), point.bias.item()))
    return found


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_the_papers(inside: bool, everything: bool, nesterov: bool) -> None:
    """AlexNet's §5 has v <- 0.9 v - 0.0005 lr w - lr g and w <- w + v; others have the rate outside of v."""
    if inside and nesterov:
        return
    recipe = Recipe(optimizer=Sgd(0.9, 0.01, nesterov, inside, everything))
    w, v, expected = [2.0, 1.0], [0.0, 0.0], []
    for step, rate in enumerate(RATES):
        for i, g in enumerate(gradients(step)):
            g += 0.01 * w[i] if i == 0 or everything else 0.0
            if inside:
                v[i] = 0.9 * v[i] - rate * g
                w[i] += v[i]
            else:
                v[i] = 0.9 * v[i] + g
                w[i] -= rate * (g + 0.9 * v[i] if nesterov else v[i])
        expected.append((w[0], w[1]))
    assert weights(recipe) == [pytest.approx(pair, rel=1e-5) for pair in expected]


def test_rmsprop_has_eps_inside_of_the_root() -> None:
    recipe = Recipe(optimizer=RmsProp(0.9, 1.0, 0.9, 0.01))
    w, s, v, expected = [2.0, 1.0], [1.0, 1.0], [0.0, 0.0], []
    for step, rate in enumerate(RATES):
        for i, g in enumerate(gradients(step)):
            g += 0.01 * w[i] if i == 0 else 0.0
            s[i] = 0.9 * s[i] + 0.1 * g * g
            v[i] = 0.9 * v[i] + rate * g / (s[i] + 1.0) ** 0.5
            w[i] -= v[i]
        expected.append((w[0], w[1]))
    assert weights(recipe) == [pytest.approx(pair, rel=1e-5) for pair in expected]


def test_adamw_decays_beside_the_gradient() -> None:
    """Loshchilov and Hutter, Algorithm 2, line 12, with the rate as both of its factors; no decay of biases."""
    recipe = Recipe(optimizer=AdamW(0.9, 0.99, 1e-3, 0.1))
    w, m, s, expected = [2.0, 1.0], [0.0, 0.0], [0.0, 0.0], []
    for step, rate in enumerate(RATES):
        for i, g in enumerate(gradients(step)):
            m[i], s[i] = 0.9 * m[i] + 0.1 * g, 0.99 * s[i] + 0.01 * g * g
            mean, square = m[i] / (1 - 0.9 ** (step + 1)), s[i] / (1 - 0.99 ** (step + 1))
            w[i] -= rate * (mean / (square**0.5 + 1e-3) + (0.1 * w[i] if i == 0 else 0.0))
        expected.append((w[0], w[1]))
    assert weights(recipe) == [pytest.approx(pair, rel=1e-5) for pair in expected]


def test_an_orthogonal_matrix_keeps_the_singular_vectors() -> None:
    random = torch.Generator().manual_seed(0)
    matrices = [torch.randn(shape, generator=random) for shape in [(4, 30), (30, 4), (6, 6), (4, 9), (4, 30)]]
    matrices[-1] *= 50
    for matrix, found in zip(matrices, orthogonal(matrices), strict=True):
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        between = u.T @ found @ v.T
        values = between.diagonal().clone()
        assert values.min() > 0.6 and values.max() < 1.3
        assert (between - values.diag()).abs().max() < 1e-4


def test_muon_is_torchs_on_the_kernels_as_matrices() -> None:
    """torch's takes matrices only and multiplies in bfloat16; the bias and the linear layer are AdamW's."""
    torch.manual_seed(0)
    net = nn.ModuleList([nn.Conv2d(3, 8, 3), nn.Conv2d(2, 20, 3), nn.Linear(8, 5)])
    ours = sorted(net.parameters(), key=lambda p: -p.ndim)  # two kernels, the linear layer's, the biases
    theirs = [nn.Parameter(p.detach().flatten(1).clone() if p.ndim == 4 else p.detach().clone()) for p in ours]
    before = [q.detach().clone() for q in theirs]
    groups = [{"params": theirs[2:3]}, {"params": theirs[3:], "weight_decay": 0.0}]
    optimizers = [
        torch.optim.Muon(theirs[:2], momentum=0.8, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.1),
    ]
    learner = Optimizer(net, Recipe(optimizer=Muon(0.8, 0.1)))
    for rate in RATES:
        for p, q in zip(ours, theirs):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.reshape(q.shape).clone()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        learner.step(rate)
    for p, q, was in zip(ours[:2], theirs[:2], before):
        assert (p.flatten(1) - q).norm() < 0.02 * (q - was).norm()
    assert all(torch.allclose(p, q, rtol=1e-4, atol=1e-6) for p, q in zip(ours[2:], theirs[2:]))


def test_the_rate_of_adamw_and_muon_follows_the_root_of_the_batch() -> None:
    assert Recipe(lr=0.1, batch=256, lr_batch=64, optimizer=AdamW()).peak == pytest.approx(0.2)
    assert Recipe(lr=0.1, batch=256, lr_batch=64, optimizer=Muon()).peak == pytest.approx(0.2)
    assert Recipe(lr=0.1, batch=256, lr_batch=64).peak == pytest.approx(0.4)


def test_the_gradient_is_cut_to_its_longest() -> None:
    point = Point()
    learner = Optimizer(point, Recipe(optimizer=Sgd(0.0, 0.0), clip=1.0))
    point.kernel.grad, point.bias.grad = torch.tensor([[3.0]]), torch.tensor([4.0])
    learner.step(0.1)
    assert (point.kernel.item(), point.bias.item()) == (pytest.approx(2 - 0.06), pytest.approx(1 - 0.08))


def test_the_average_follows_weights_and_statistics() -> None:
    """Little is kept while there are few steps: (1 + n) / (10 + n), and never more than the recipe says."""
    point = Point()
    learner = Optimizer(point, Recipe(optimizer=Sgd(0.0, 0.0), ema_decay=0.3))
    averages = {"kernel": 2.0, "seen": 0.0}
    for step, rate in enumerate(RATES):
        point.kernel.grad, point.bias.grad = torch.tensor([[1.0]]), torch.tensor([0.0])
        point.seen.fill_(step + 1.0)
        learner.step(rate)
        kept = min(0.3, (2 + step) / (11 + step))
        for name, now in (("kernel", point.kernel.item()), ("seen", float(point.seen))):
            averages[name] = kept * averages[name] + (1 - kept) * now
    averaged = learner.averaged().state_dict()
    assert {name: float(averaged[name]) for name in averages} == pytest.approx(averages, rel=1e-5)
    assert point.kernel.item() != float(averaged["kernel"])


@pytest.mark.parametrize(
    "optimizer", [Sgd(lr_in_velocity=True), Sgd(nesterov=True, decay_all=False), RmsProp(), AdamW(), Muon()]
)
def test_a_learner_goes_on_from_its_state(optimizer: Sgd | RmsProp | AdamW | Muon) -> None:
    recipe = Recipe(optimizer=optimizer, ema_decay=0.5)
    whole, first, second = Point(4), Point(4), Point(4)  # a kernel of a convolution, of which Muon treats no others
    learner, half = Optimizer(whole, recipe), Optimizer(first, recipe)
    for step, rate in enumerate(RATES):
        if step == 3:
            second.load_state_dict(first.state_dict())
            resumed = Optimizer(second, recipe)
            resumed.restore({name: tensor.clone() for name, tensor in half.state().items()}, 3, RATES[2])
            half, first = resumed, second
        for point, one in ((whole, learner), (first, half)):
            point.kernel.grad, point.bias.grad = (
                torch.full_like(p, g) for p, g in zip((point.kernel, point.bias), gradients(step))
            )
            one.step(rate)
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in whole.state_dict().items())
    assert all(torch.equal(value, half.state()[name]) for name, value in learner.state().items())
