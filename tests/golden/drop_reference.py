"""Eager PyTorch reference of DROP: networks, losses, one training step, gradient ascent, inference rules.

Written from the specification alone, to be read beside it; it shares nothing with the library. Plain rather than fast.
`p` is always a dict of tensors with the names of a checkpoint. Shapes: B rows of a batch, E states, N starts, d entries
of an embedding.
"""

import dataclasses

import torch
import torch.nn.functional as F

MULTIPLIER_MAX = 1e6
LOG_STD_RANGE = (-5.0, 2.0)
POSTERIOR_LOG_STD_RANGE = (-4.0, 15.0)


# ---- networks (Figure 9, Table 7) -----------------------------------------------------------------------------------


def linear(p, name, x):
    return F.linear(x, p[name + ".weight"], p[name + ".bias"])


def hidden_layers(p, name, count, x):
    """`count` linear layers, each followed by ReLU."""
    for i in range(count):
        x = torch.relu(linear(p, f"{name}.{i}", x))
    return x


def task_embedding(p, subtasks, bounded=True):
    """phi: sub-task indices [...] -> z [..., d], in (-1, 1) if bounded. Enc_0: two hidden layers and an output."""
    name = "task_embedding.encoder"
    num_subtasks = p[name + ".0.weight"].shape[1]
    one_hot = F.one_hot(subtasks, num_subtasks).to(p[name + ".0.weight"].dtype)
    out = linear(p, name + ".2", hidden_layers(p, name, 2, one_hot))
    return torch.tanh(out) if bounded else out


def posterior(p, states, actions, inputs):
    """The CVAE's encoder: mean and log standard deviation [B, d] of q(z|s,a), or of q(z|s) with inputs "s"."""
    x = torch.cat([states, actions], dim=-1) if inputs == "sa" else states
    mean, log_std = linear(p, "encoder.2", hidden_layers(p, "encoder", 2, x)).chunk(2, dim=-1)
    return mean, log_std.clamp(*POSTERIOR_LOG_STD_RANGE)


def policy_mean(p, states, z):
    """beta's mean: h = Enc_1(s), a = tanh(Enc_2([h, z])). Enc_1 is all hidden layers, Enc_2 three and an output."""
    h = hidden_layers(p, "policy.state_encoder", 2, states)
    x = hidden_layers(p, "policy.action_encoder", 3, torch.cat([h, z], dim=-1))
    return torch.tanh(linear(p, "policy.action_encoder.3", x))


def score(p, states, actions, z, net="score"):
    """f: g = Enc_3([s, a]), score = Enc_4([g, z]), one number a row. `net="target_score"` is f_bar."""
    g = hidden_layers(p, net + ".state_action_encoder", 2, torch.cat([states, actions], dim=-1))
    x = hidden_layers(p, net + ".score_encoder", 3, torch.cat([g, z], dim=-1))
    return linear(p, net + ".score_encoder.3", x).squeeze(-1)


# ---- losses (Algorithm 1, Equations 6 and 8, Lagrangian of Appendix D) ----------------------------------------------


@dataclasses.dataclass
class Settings:
    discount: float = 0.99
    target_rate: float = 0.005
    learning_rate: float = 1e-3
    conservative: bool = True
    multiplier: str = "hinge"  # hinge | projected | log
    multiplier_rate: float = 1e-3  # step of the projected ascent; Adam's rate for `log`
    threshold_scaled: float = 2.0  # eta_c times the reward scale
    td_updates_embedding: bool = True
    policy_std: str = "fixed"  # fixed | learned
    embedding: str = "table"  # table | cvae
    bounded_embedding: bool = True  # table: tanh
    encoder_inputs: str = "sa"  # cvae: sa | s
    kl_weight: float = 1.0  # cvae
    score: bool = True  # off: the behaviour alone


def behaviour_loss(p, batch, z, policy_std):
    """-mean log beta(a|s,z) without the constant of the normal density."""
    error = batch["actions"] - policy_mean(p, batch["states"], z)
    if policy_std == "fixed":
        return (0.5 * error**2).sum(-1).mean()
    log_std = p["policy.log_std"].clamp(*LOG_STD_RANGE)
    return (0.5 * (error / log_std.exp()) ** 2 + log_std).sum(-1).mean()


def td_target(p, batch, z, discount):
    """y = r + gamma (1 - terminal) f_bar(s', a', z); never differentiated."""
    with torch.no_grad():
        value = score(p, batch["next_states"], batch["next_actions"], z, net="target_score")
        return batch["rewards"] + discount * (1 - batch["terminals"]) * value


def td_loss(p, batch, z, target):
    return ((score(p, batch["states"], batch["actions"], z) - target) ** 2).mean()


def conservative_gap(p, batch, z):
    """C = mean f(s, beta(s,z_u), z_u) - mean f(s, beta(s,z), z) at beta's mean; differentiable in f alone."""
    states, z, z_u = batch["states"], z.detach(), batch["z_u"]
    with torch.no_grad():
        a_u, a = policy_mean(p, states, z_u), policy_mean(p, states, z)
    return score(p, states, a_u, z_u).mean() - score(p, states, a, z).mean()


def losses(p, batch, multiplier, settings):
    """All losses of one step from the parameters and the multiplier as they are now."""
    zero = batch["rewards"].new_zeros(())
    kl = zero
    if settings.embedding == "cvae":
        # one draw of z by reparametrisation; f's losses see it without its history
        mean, log_std = posterior(p, batch["states"], batch["actions"], settings.encoder_inputs)
        z = mean + log_std.exp() * batch["noise"]
        z_td = z.detach()
        prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        q = torch.distributions.Normal(mean, log_std.exp())
        kl = torch.distributions.kl_divergence(q, prior).sum(-1).mean()
    else:
        z = task_embedding(p, batch["subtasks"], settings.bounded_embedding)
        z_td = z if settings.td_updates_embedding else z.detach()
    behaviour = behaviour_loss(p, batch, z, settings.policy_std)
    if not settings.score:
        return {"behaviour": behaviour, "kl": kl, "td": zero, "gap": zero, "total": behaviour + settings.kl_weight * kl}
    td = td_loss(p, batch, z_td, td_target(p, batch, z, settings.discount))
    gap = conservative_gap(p, batch, z)

    # no gradient reaches beta except from the behaviour loss, so that one sum serves phi, beta and f
    excess = gap - settings.threshold_scaled
    penalty = excess.clamp(min=0) if settings.multiplier == "hinge" else excess
    total = behaviour + settings.kl_weight * kl + td
    if settings.conservative:
        total = total + multiplier.detach() * penalty
    return {"behaviour": behaviour, "kl": kl, "td": td, "gap": gap, "total": total}


# ---- training -------------------------------------------------------------------------------------------------------


class Trainer:
    """Holds the parameters (float32 or float64, trained in that type), the four optimisers and lambda."""

    def __init__(self, params, settings, dtype):
        self.settings = settings
        self.params = {k: v.detach().clone().to(dtype) for k, v in params.items() if k != "multiplier.value"}
        self.multiplier = params["multiplier.value"].detach().clone().to(dtype)
        self.multiplier_log = self.multiplier.log().requires_grad_() if settings.multiplier == "log" else None
        self.optimisers = {}
        self.networks = ["encoder" if settings.embedding == "cvae" else "task_embedding", "policy"]
        if settings.score:
            self.networks.append("score")
        for net in self.networks:
            group = [v.requires_grad_() for k, v in self.params.items() if k.startswith(net + ".")]
            self.optimisers[net] = torch.optim.Adam(group, lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-8)
        if self.multiplier_log is not None:
            self.optimisers["multiplier"] = torch.optim.Adam([self.multiplier_log], lr=settings.multiplier_rate)

    def trainable(self):
        return {k: v for k, v in self.params.items() if k.split(".")[0] in self.networks}

    def step(self, batch):
        """One step; returns the losses and C before it. `batch` has the parameters' type."""
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        parts = losses(self.params, batch, self.multiplier, self.settings)
        parts["total"].backward()
        for net in self.networks:
            self.optimisers[net].step()
        if self.settings.score and self.settings.conservative:
            self.update_multiplier(parts["gap"].detach())
        if self.settings.score:
            self.update_target()
        return {k: v.item() for k, v in parts.items()}

    def update_multiplier(self, gap):
        """lambda goes up its gradient, C - eta_c, with C from before the step."""
        excess = gap - self.settings.threshold_scaled
        if self.settings.multiplier == "log":
            (-self.multiplier_log.exp() * excess).backward()
            self.optimisers["multiplier"].step()
            with torch.no_grad():
                self.multiplier_log.clamp_(max=torch.tensor(MULTIPLIER_MAX).log().item())
            self.multiplier = self.multiplier_log.detach().exp()
        else:
            rate = self.settings.multiplier_rate
            self.multiplier = (self.multiplier + rate * excess).clamp(0, MULTIPLIER_MAX)

    def update_target(self):
        """f_bar <- (1 - v) f_bar + v f, with f after its update."""
        v = self.settings.target_rate
        with torch.no_grad():
            for name, target in self.params.items():
                if name.startswith("target_score."):
                    target.copy_((1 - v) * target + v * self.params[name.removeprefix("target_")])


# ---- embedding inference (Section 5, Algorithm 2) -------------------------------------------------------------------


@dataclasses.dataclass
class Search:
    ascent_steps: int = 100
    ascent_step_size: float = 0.01
    clip: bool = True
    normalise_gradient: bool = False
    keep_best_iterate: bool = False
    box: float = 1.0  # Z = [-box, box]^d


def deployed_score(p, states, z):
    """f(s, beta(s,z), z) for states [E, s] and z [E, N, d] -> [E, N]."""
    s = states[:, None, :].expand(*z.shape[:2], -1)
    return score(p, s, policy_mean(p, s, z), z)


def score_and_gradient(p, states, z):
    """The scores [E, N] and d/dz [E, N, d], through beta's mean as well."""
    z = z.detach().requires_grad_()
    values = deployed_score(p, states, z)
    (gradient,) = torch.autograd.grad(values.sum(), z)
    return values.detach(), gradient


def ascend(p, states, starts, search):
    """K steps from starts [E, N, d]; returns the ends [E, N, d] and their scores [E, N]."""
    z = starts
    best_z, best_score = z, score_and_gradient(p, states, z)[0]
    for _ in range(search.ascent_steps):
        _, gradient = score_and_gradient(p, states, z)
        if search.normalise_gradient:
            norm = torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
            gradient = torch.where(norm > 0, gradient / norm, torch.zeros_like(gradient))
        z = z + search.ascent_step_size * gradient
        if search.clip:
            z = z.clamp(-search.box, search.box)
        # the earliest of equals stays
        values, _ = score_and_gradient(p, states, z)
        better = values > best_score if search.keep_best_iterate else torch.ones_like(values, dtype=torch.bool)
        best_z = torch.where(better[..., None], z, best_z)
        best_score = torch.where(better, values, best_score)
    return best_z, best_score


def infer(p, rule, states, embeddings, search):
    """One rule for states [E, s], each taken as its episode's first; starts are embeddings [N, d].

    Returns subtask [E], embedding [E, d], score [E] (scaled units) and action [E, a] (the mean).
    """
    rows = torch.arange(len(states))
    z = embeddings[None].expand(len(states), -1, -1)
    values, _ = score_and_gradient(p, states, z)
    if rule == "grad-ada":
        z, values = ascend(p, states, z, search)
    # numpy's argmax gives the lowest index among equals, which torch does not promise
    subtask = torch.from_numpy(values.numpy().argmax(axis=1))
    z, values = z[rows, subtask], values[rows, subtask]
    if rule == "grad":
        ends, end_scores = ascend(p, states, z[:, None], search)
        z, values = ends[:, 0], end_scores[:, 0]
    with torch.no_grad():
        action = policy_mean(p, states, z)
    return {"subtask": subtask, "embedding": z, "score": values, "action": action}
