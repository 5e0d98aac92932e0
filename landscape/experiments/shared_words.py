"""The headline of the experiment `shared`."""

from collections.abc import Sequence

from landscape.experiments.shared_transfer import Attack

NORMS = {"linf": "L-inf", "l2": "L2"}


def headline(config, attacks: Sequence[Attack], estimates: Sequence[dict]) -> str:
    """What one noisy member is worth; transfer of the first attack, same mistakes beside chance; joint searches."""
    attack, search = attacks[0], config.ladder.searches[0]
    worth = _found(estimates, name="shared.effective_members", rung="ball", search=search, budget="steps")
    first = ""
    if worth is not None:
        where = "in pixels" if search == "pixels" else "on the manifold"
        first = (
            f"One noisy member is worth {worth['told']} members: searches that it guides fool held-out classifiers as "
            f"often as those of so many together ({where}, equal steps). "
        )
    about = {"attack": attack.kind, "norm": attack.norm, "epsilon": attack.epsilon, "matching": "clean_correct"}

    def share(name: str, **more) -> str:
        return percent(_found(estimates, name=name, **more))

    wrong, same, chance = (share(f"transfer.{q}", targets="attackers", **about) for q in ("wrong", "same", "chance"))
    where = f"{NORMS[attack.norm]} {attack.epsilon:g}"
    told = first + (
        f"An adversarial example of one classifier ({where}) fools another in {wrong} of the cases, in {same} by the "
        f"same mistake, where chance would have it in {chance}"
    )
    other = share("transfer.wrong", targets="held_out", **about)
    apart = config.held_out_model.to_dict() != config.model.to_dict()
    told += f"; it fools held-out ones of another architecture in {other}." if apart else "."
    joint = [e for e in estimates if e["name"] == "shared.held_out_fooled" and e["epsilon"] == attack.epsilon]
    if attack.norm == "linf" and joint:
        best = max(joint, key=lambda e: e["value"])
        everyone = share("shared.attackers_fooled", epsilon=best["epsilon"], objective=best["objective"])
        told += (
            f" Searches that have all attackers to fool do so on {everyone} of the images (objective "
            f"{best['objective']}, the best of {len(joint)}), and fool held-out classifiers in {percent(best)} of all "
            "cases."
        )
    return told


def _found(estimates: Sequence[dict], **about) -> dict | None:
    return next((e for e in estimates if all(e.get(key) == value for key, value in about.items())), None)


def percent(entry: dict | None) -> str:
    """A share in per cent with its interval where it has one."""
    if entry is None:
        return "an unknown share (too few images)"
    value, *ends = (f"{100 * entry[k]:.1f}" for k in ("value", "low", "high") if entry[k] is not None)
    return f"{value} [{', '.join(ends)}] %" if ends else f"{value} %"
