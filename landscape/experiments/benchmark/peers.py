"""The same networks and the same work in PyTorch and Foolbox, as a careful user of each would write it.

Needs the `peers` extra; only `benchmark` and its tests import this. No parameter has a gradient, noise runs in
inference mode, noise is drawn once for all members and levels, and the padding costs no copy (see `network`).
"""

import time
from collections.abc import Callable, Sequence

import foolbox
import numpy as np
import torch
from jaxtyping import ArrayLike
from torch import nn
from torch.nn import functional

from landscape.types import Variables

Models = Sequence[nn.Module]
Labels = Sequence[torch.Tensor]  # int64 [N], one a model
Levels = Sequence[float]
SLOW = 3.0  # times the best of other numbers of threads

# convolution strides, and whether the mean over positions stands before the dense layer
PORTED = {"cnn": ((2, 2, 1), False), "cnn_wide": ((1, 2, 2), True)}


def network(name: str, variables: Variables, *, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """The classifier `name` with the weights of `variables`; takes `images(x)`, returns logits [N, K].

    Flax pads an even side for stride 2 with one zero behind it, PyTorch can only pad both ends. Turned by half a
    circle, image and kernels, the same convolution has its zero in front, where PyTorch puts it as well, and the one
    behind is never read. So the module works on turned images with turned kernels and gives the same logits.

    Args:
      name: one of PORTED, or resnet18, which takes images as they are.
      variables: of one member, without norm layers.
      mean, std: of the normalisation, one a channel.
    """
    if name == "resnet18":
        return residual(variables, mean=mean, std=std)
    strides, pool = PORTED[name]
    params = {layer: {k: np.array(v) for k, v in leaves.items()} for layer, leaves in variables["params"].items()}
    layers: list[nn.Module] = [_Normalise(mean, std)]
    for i, stride in enumerate(strides, start=1):
        kernel, bias = params[f"conv{i}"]["kernel"], params[f"conv{i}"]["bias"]
        conv = nn.Conv2d(*kernel.shape[2:], kernel.shape[0], stride, padding=1)
        turned = np.ascontiguousarray(kernel[::-1, ::-1].transpose(3, 2, 0, 1))
        conv.weight.data, conv.bias.data = torch.from_numpy(turned), torch.from_numpy(bias)
        layers += [conv, nn.ReLU()]
    kernel, bias = params["logits"]["kernel"], params["logits"]["bias"]
    channels = conv.out_channels
    if not pool:  # rows of the dense kernel: from (height, width, channel) to (channel, height, width), turned
        side = round((kernel.shape[0] // channels) ** 0.5)
        kernel = kernel.reshape(side, side, channels, -1)[::-1, ::-1].transpose(2, 0, 1, 3).reshape(kernel.shape)
    dense = nn.Linear(*kernel.shape)
    dense.weight.data, dense.bias.data = torch.from_numpy(np.ascontiguousarray(kernel.T)), torch.from_numpy(bias)
    layers += [nn.AdaptiveAvgPool2d(1)] if pool else []
    return nn.Sequential(*layers, nn.Flatten(), dense).eval().requires_grad_(False)


class _Normalise(nn.Module):
    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.mean, self.std = (torch.tensor(tuple(v), dtype=torch.float32)[None, :, None, None] for v in (mean, std))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, body: nn.Module, skip: nn.Module):
        super().__init__()
        self.body, self.skip = body, skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.body(x) + self.skip(x), inplace=True)


def residual(variables: Variables, *, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """A residual network with stem "imagenet" and batch norm, in inference mode; its padding is PyTorch's own."""
    tree = {
        c: {k: {n: torch.tensor(np.array(a)) for n, a in v.items()} for k, v in variables[c].items()} for c in variables
    }
    params, stats = tree["params"], tree["batch_stats"]

    def conv(name: str, norm: str, stride: int = 1) -> list[nn.Module]:
        kernel = params[name]["kernel"]
        layer = nn.Conv2d(kernel.shape[2], kernel.shape[3], kernel.shape[0], stride, kernel.shape[0] // 2, bias=False)
        layer.weight.data = kernel.permute(3, 2, 0, 1).contiguous()
        scaled = nn.BatchNorm2d(kernel.shape[3])
        scaled.load_state_dict({
            "weight": params[norm]["scale"], "bias": params[norm]["bias"], "running_mean": stats[norm]["mean"],
            "running_var": stats[norm]["var"], "num_batches_tracked": torch.tensor(0),
        })  # fmt: skip
        return [layer, scaled]

    def block(name: str) -> nn.Module:
        stride = 2 if f"{name}_skip" in params and not name.startswith("block1_") else 1
        first, second = conv(f"{name}_conv1", f"{name}_norm1", stride), conv(f"{name}_conv2", f"{name}_norm2")
        skip = conv(f"{name}_skip", f"{name}_skip_norm", stride) if f"{name}_skip" in params else [nn.Identity()]
        return _Block(nn.Sequential(*first, nn.ReLU(inplace=True), *second), nn.Sequential(*skip))

    names = sorted({name.removesuffix("_conv1") for name in params if name.endswith("_conv1")})
    dense = nn.Linear(*params["logits"]["kernel"].shape)
    dense.weight.data, dense.bias.data = params["logits"]["kernel"].T.contiguous(), params["logits"]["bias"]
    stem = [_Normalise(mean, std), *conv("stem", "stem_norm", 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense]
    return nn.Sequential(*stem, *map(block, names), *end).eval().requires_grad_(False)


def images(x: ArrayLike, *, turned: bool = True) -> torch.Tensor:
    """[N, H, W, C] to [N, C, H, W], turned by half a circle for the networks of PORTED."""
    x = np.asarray(x)
    return torch.from_numpy(np.ascontiguousarray((x[:, ::-1, ::-1] if turned else x).transpose(0, 3, 1, 2)))


def with_best_threads(work: Callable[[], object], candidates: Sequence[int]) -> Callable[[], object]:
    """The same work with the number of threads with which it runs fastest (best of three rounds).

    A number whose first round takes SLOW times the best so far is not tried again: threads that wait for one another
    on a busy machine take seconds for what one does in a tenth.
    """
    taken: dict[int, float] = {}

    def timed(threads: int) -> float:
        torch.set_num_threads(threads)
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    for threads in candidates:
        first, best = timed(threads), min(taken.values(), default=float("inf"))
        taken[threads] = first if first > SLOW * best else min(timed(threads) for _ in range(3))
    fastest = min(taken, key=taken.__getitem__)

    def run() -> object:
        torch.set_num_threads(fastest)
        return work()

    return run


def values(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """1 - p, loss and -margin of the tracked class, from the other classes as `landscape.objectives` does. [3, N]."""
    own = logits.gather(1, label[:, None])
    others = (logits - own).scatter(1, label[:, None], -torch.inf)
    gap = -torch.logsumexp(others, 1)
    return torch.stack([torch.sigmoid(-gap), functional.softplus(-gap), others.amax(1)])


@torch.inference_mode()
def input_noise(models: Models, x: torch.Tensor, labels: Labels, *, sigmas: Levels, num_trials: int) -> torch.Tensor:
    """Means and standard errors of the rises of `values` under Gaussian noise on the input, and the share kept.

    Returns:
      [S, L, 7, N]: three means, three standard errors, share of draws predicted as the tracked class.
    """
    clean = [values(model(x), label) for model, label in zip(models, labels, strict=True)]
    sums = torch.zeros(len(models), len(sigmas), 7, len(x))
    for _ in range(num_trials):
        eps = torch.randn_like(x)
        for s, (model, label) in enumerate(zip(models, labels, strict=True)):
            for k, sigma in enumerate(sigmas):
                logits = model(x + sigma * eps)
                rises = values(logits, label) - clean[s]
                sums[s, k, :3] += rises
                sums[s, k, 3:6] += rises.square()
                sums[s, k, 6] += logits.argmax(1) == label
    return torch.cat([_mean_and_sem(sums[..., :6, :], num_trials), sums[..., 6:, :] / num_trials], -2)


@torch.inference_mode()
def weight_noise(models: Models, x: torch.Tensor, labels: Labels, *, sigmas: Levels, num_draws: int) -> torch.Tensor:
    """Means and standard errors of the rises of `values` under multiplicative noise on all weights.

    Returns:
      [S, X, 6, N]: three means, three standard errors.
    """
    sums = torch.zeros(len(models), len(sigmas), 6, len(x))
    for s, (model, label) in enumerate(zip(models, labels, strict=True)):
        clean = values(model(x), label)
        weights = list(model.parameters())
        centres = [weight.clone() for weight in weights]
        for _ in range(num_draws):
            directions = [centre * torch.randn_like(centre) for centre in centres]
            for k, sigma in enumerate(sigmas):
                for weight, centre, direction in zip(weights, centres, directions, strict=True):
                    torch.add(centre, direction, alpha=sigma, out=weight)
                rises = values(model(x), label) - clean
                sums[s, k, :3] += rises
                sums[s, k, 3:] += rises.square()
        for weight, centre in zip(weights, centres, strict=True):
            weight.copy_(centre)
    return _mean_and_sem(sums, num_draws)


@torch.inference_mode()
def surface(
    models: Models,
    x: torch.Tensor,
    labels: Labels,
    *,
    plane: Sequence[torch.Tensor],
    at: torch.Tensor,
    radius: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-odds of the tracked class, and decisions, at points of a plane through every image.

    The points of a plane are made once for all models, by one product of matrices into a buffer that all planes use.

    Args:
      plane: its two directions, as `x`. at: coordinates [K, 2], in units of radius, one a plane.

    Returns:
      [S, N, K] of each.
    """
    last = x.is_contiguous(memory_format=torch.channels_last)
    order = (0, 2, 3, 1) if last else (0, 1, 2, 3)
    rows, *along = (part.permute(order).flatten(1) for part in (x, *plane))
    flat = torch.empty(len(at), rows.shape[1])
    points = flat.view(len(at), *x.permute(order).shape[1:])
    points = points.permute(0, 3, 1, 2) if last else points
    found = torch.empty(len(models), len(x), len(at)), torch.empty(len(models), len(x), len(at), dtype=torch.long)
    for n in range(len(x)):
        directions = torch.stack([one[n] for one in along])
        torch.addmm(rows[n].expand_as(flat), at, directions, alpha=float(radius[n]), out=flat)
        for s, (model, label) in enumerate(zip(models, labels, strict=True)):
            logits = model(points)
            others = logits - logits[:, label[n], None]
            others[:, label[n]] = -torch.inf
            torch.logsumexp(others, 1, out=found[0][s, n]).neg_()
            torch.argmax(logits, 1, out=found[1][s, n])
    return found


def _mean_and_sem(sums: torch.Tensor, n: int) -> torch.Tensor:
    """[..., 6, N] sums of three values and of their squares, to means and standard errors."""
    mean, squares = (sums / n).split(3, -2)
    return torch.cat([mean, torch.sqrt((squares - mean.square()).clamp(min=0) / (n - 1))], -2)


def curvature(models: Models, x: torch.Tensor, labels: Labels, *, num_steps: int, num_probes: int) -> torch.Tensor:
    """Extreme eigenvalues and trace of the input Hessians of the loss and of 1 - p, as `measures.curvature` finds them.

    All images of the batch go through one graph, whose second derivative is taken once for each vector.

    Returns:
      [S, 6, N]: top, bottom and trace of the loss, then of 1 - p.
    """
    found = []
    for model, label in zip(models, labels, strict=True):
        z = x.clone().requires_grad_(True)
        logits = model(z)
        others = (logits - logits.gather(1, label[:, None])).scatter(1, label[:, None], -torch.inf)
        gaps = -torch.logsumexp(others, 1)
        (slope,) = torch.autograd.grad(gaps.sum(), z, create_graph=True)

        def hvp(v: torch.Tensor, slope: torch.Tensor = slope, z: torch.Tensor = z) -> torch.Tensor:
            return torch.autograd.grad(slope, z, v.reshape(z.shape), retain_graph=True)[0].flatten(1)

        flat, p = slope.detach().flatten(1), torch.sigmoid(gaps.detach())
        error, start = 1 - p, torch.randn_like(flat)
        probes = torch.linalg.qr(torch.randn(*flat.shape, min(num_probes, flat.shape[1])))[0] * flat.shape[1] ** 0.5
        bent_trace = torch.stack([(q * hvp(q)).sum(1) for q in probes.unbind(2)]).mean(0)
        for along, bent in ((error * p, error), (error * p * (p - error), error * p)):

            def matvec(v: torch.Tensor, along=along, bent=bent, flat=flat, hvp=hvp) -> torch.Tensor:
                return (along * (flat * v).sum(1))[:, None] * flat - bent[:, None] * hvp(v)

            ends = _extremes(matvec, start, num_steps)
            found += [ends[:, -1], ends[:, 0], along * flat.square().sum(1) - bent * bent_trace]
    return torch.stack(found).reshape(len(models), 6, len(x))


def _extremes(matvec: Callable[[torch.Tensor], torch.Tensor], start: torch.Tensor, num_steps: int) -> torch.Tensor:
    """Ritz values [N, T], rising, of N matrices at once by Lanczos with full reorthogonalisation."""
    q, basis, diagonal, coupling = start / start.norm(dim=1, keepdim=True), [], [], []
    for _ in range(num_steps):
        basis.append(q)
        w, known = matvec(q), torch.stack(basis, 1)
        diagonal.append((q * w).sum(1))
        for _ in range(2):
            w = w - torch.einsum("ntd,nt->nd", known, torch.einsum("ntd,nd->nt", known, w))
        coupling.append(w.norm(dim=1))
        q = w / coupling[-1].clamp(min=1e-30)[:, None]
    beside = torch.diag_embed(torch.stack(coupling[:-1], 1), offset=-1)
    return torch.linalg.eigvalsh(torch.diag_embed(torch.stack(diagonal, 1)) + beside)


def pgd(
    models: Models, x: torch.Tensor, labels: Labels, *, epsilon: float, step_size: float, num_steps: int
) -> list[torch.Tensor]:
    """L-inf PGD with a random start as a plain loop, on each model in turn. Images as `x`, one batch a model."""
    low, high = (x - epsilon).clamp_(min=0), (x + epsilon).clamp_(max=1)
    found = []
    for model, label in zip(models, labels, strict=True):
        z = x + torch.empty_like(x).uniform_(-epsilon, epsilon)
        z = torch.clamp(z, low, high)
        for _ in range(num_steps):
            z.requires_grad_(True)
            loss = functional.cross_entropy(model(z), label, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, z)
            z = torch.clamp(z.detach() + step_size * gradient.sign_(), low, high)
        found.append(z)
    return found


def foolbox_pgd(
    models: Models, x: torch.Tensor, labels: Labels, *, epsilon: float, step_size: float, num_steps: int
) -> list[torch.Tensor]:
    """Foolbox's LinfPGD on its PyTorchModel, each model in turn; `run` leaves out the checks around the attack."""
    attack = foolbox.attacks.LinfPGD(abs_stepsize=step_size, steps=num_steps, random_start=True)
    found = []
    for model, label in zip(models, labels, strict=True):
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
        found.append(attack.run(wrapped, x, foolbox.criteria.Misclassification(label), epsilon=epsilon))
    return found


def _attacks(norm: str, num_steps: int, deepfool_steps: int) -> tuple[list, object]:
    """Foolbox's attacks that look for the nearest image, and PGD."""
    attacks, steps = foolbox.attacks, {"steps": num_steps}
    if norm == "linf":
        nearest = [attacks.LInfFMNAttack(**steps), attacks.LinfDeepFoolAttack(steps=deepfool_steps)]
        return nearest, attacks.LinfPGD(rel_stepsize=2.5 / num_steps, **steps)
    search = {"binary_search_steps": 6, "stepsize": 0.02, "initial_const": 1.0, "abort_early": False}
    nearest = [attacks.L2FMNAttack(**steps), attacks.L2DeepFoolAttack(steps=deepfool_steps), attacks.DDNAttack(**steps)]
    nearest.append(attacks.L2CarliniWagnerAttack(**search, **steps))
    return nearest, attacks.L2PGD(rel_stepsize=2.5 / num_steps, **steps)


def strongest(
    model: nn.Module,
    x: torch.Tensor,
    label: torch.Tensor,
    *,
    norm: str,
    epsilon: float,
    num_steps: int,
    num_restarts: int,
    deepfool_steps: int,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Of Foolbox's attacks the best for each example: FMN, DeepFool, in L2 also DDN and C&W, and PGD with restarts.

    An example that has been fooled in the ball is not attacked by PGD again, which changes nothing of the best.

    Returns:
      whether the example stays right in the ball of radius epsilon [N] bool; the distance of the nearest image found
      that is not given the class, 0 where the image itself is not, inf where none was found [N]; and how many images
      went through the model for each that was attacked. Predictions are PyTorch's.
    """
    wrapped, passed = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), []
    counter = model.register_forward_hook(lambda module, inputs, logits: passed.append(len(logits)))

    def right(z, label):
        with torch.inference_mode():
            return model(z).argmax(1) == label

    distance = torch.where(right(x, label), torch.inf, 0.0)
    attacked = torch.nonzero(distance)[:, 0]
    own, wanted = x[attacked], label[attacked]
    nearest, pgd = _attacks(norm, num_steps, deepfool_steps)
    for attack in nearest:
        z = attack.run(wrapped, own, foolbox.criteria.Misclassification(wanted)).detach()
        length = torch.linalg.vector_norm((z - own).flatten(1), ord=torch.inf if norm == "linf" else 2, dim=1)
        length = torch.where(right(z, wanted), torch.inf, length)
        distance[attacked] = torch.minimum(distance[attacked], length)
    standing = torch.nonzero(distance > epsilon)[:, 0]
    for _ in range(num_restarts):
        if len(standing):
            own, wanted = x[standing], label[standing]
            z = pgd.run(wrapped, own, foolbox.criteria.Misclassification(wanted), epsilon=epsilon).detach()
            standing = standing[right(z, wanted)]
    counter.remove()
    kept = torch.zeros(len(x), dtype=torch.bool)
    kept[standing] = True
    return kept.numpy(), distance.numpy(), sum(passed) / max(len(attacked), 1)
