"""What does an autoencoder's latent space look like; what lies around and between embeddings?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.latent.config import FIELDS, check

IMAGE = ("height", "width", "channel")
AROUND = ("noise", "radius")
# What the stages give of one family of autoencoders, and where chains are concerned of one sampler.
STATISTICS = {
    "mean": Quantity(("member", "latent"), "1", "mean of a latent dimension over test images, unit of the latent"),
    "std": Quantity(("member", "latent"), "1", "standard deviation of a latent dimension, unit of the latent"),
    "skewness": Quantity(("member", "latent"), "1", "skewness of a latent dimension"),
    "excess_kurtosis": Quantity(("member", "latent"), "1", "excess kurtosis of a latent dimension"),
    "spectrum": Quantity(("member", "latent"), "1", "variances along principal axes, unit of the latent squared"),
    "norms": Quantity(
        ("member", "example"), "1", "norm of a latent over the root of its dimension, unit of the latent"
    ),
    "correlation": Quantity(("first", "second"), "1", "correlation of two of at most 64 dimensions, first member"),
    "projection": Quantity(("example", "axis"), "1", "first two principal coordinates, first member"),
    "effective_dimension": Quantity(("member",), "1", "participation ratio of the spectrum"),
    "intrinsic_dimension": Quantity(("member",), "1", "TwoNN estimate of the dimension of the set of latents"),
    "active_units": Quantity(("member",), "1", "latent dimensions that move with the image (vae, sparse)"),
    "mmd": Quantity(("member",), "1", "squared maximum mean discrepancy from the prior, or from the fitted Gaussian"),
    "mmd_p": Quantity(("member",), "1", "p-value of no discrepancy"),
    "gaussian_accuracy": Quantity(
        ("member",), "1", "accuracy of a classifier of latents (vae: posterior draws) against draws of their Gaussian"
    ),
    "probe": Quantity(("member", "example"), "1", "whether a linear probe of the latent is right"),
    "knn": Quantity(("member", "example"), "1", "whether the 10 nearest training latents vote for the true class"),
    "cka": Quantity(("other", "member"), "1", "linear centred kernel alignment of two seeds' latents"),
    "linear_r2": Quantity(("other", "member"), "1", "held-out R^2 of linear maps between two seeds' latents"),
}
NOISE = {
    "decoded_probability": Quantity(
        ("classifier", "member", "start"), "1", "probability of the own class of the decoded embedding"
    ),
    "around_probability": Quantity(
        (*AROUND, "classifier", "member", "start"), "1", "probability of the own class after noise in the latent"
    ),
    "around_moved": Quantity(
        (*AROUND, "member", "start"), "pixels", "L2 distance of the decoded noisy latent from the test image"
    ),
    "prior_confidence": Quantity(("member", "draw"), "1", "largest class probability of decoded draws of the prior"),
    "picture_around": Quantity(
        ("radius", "start", *IMAGE), "pixels", "decoded latents under Gaussian noise, first member and trial"
    ),
    "picture_prior": Quantity(("shown", *IMAGE), "pixels", "decoded draws of the prior, first member"),
}
LOCAL_CHAIN, GLOBAL_CHAIN = ("radius", "member", "start", "chain"), ("guidance", "member", "class", "chain")
DIAGNOSED = ("latent", "class", "code")  # series of states that must have converged
OF_CHAINS = {
    f"{which}_{name}": Quantity(dims if of_each else (*dims[:-1], "diagnosed"), "1", about)
    for which, dims in (("local", LOCAL_CHAIN), ("global", GLOBAL_CHAIN))
    for name, of_each, about in (
        ("acceptance", True, "mean acceptance probability of a chain's steps but jumps"),
        ("divergent", True, "share of steps whose energy error passes 1000 nats"),
        ("changed", True, "share of steps of one place that change a code"),
        ("jumped", True, "mean acceptance probability of a chain's jumps"),
        ("rhat", False, "largest rank-normalised split R-hat of a group's chains; nothing where no state differs"),
        ("bulk_ess", False, "smallest bulk effective sample size of a group's chains"),
        ("tail_ess", False, "smallest tail effective sample size of a group's chains"),
    )
}
LOCAL = {
    "local_probability": Quantity(
        ("radius", "classifier", *LOCAL_CHAIN[1:]), "1", "probability of the own class along chains"
    ),
    "local_moved": Quantity(LOCAL_CHAIN, "pixels", "L2 distance of decoded states from the test image"),
    "local_drift": Quantity(
        LOCAL_CHAIN, "1", "root mean square distance from the embedding over dimensions, white units"
    ),
    "picture_local": Quantity(("frame", "radius", "start", *IMAGE), "pixels", "decoded states, first member and chain"),
}
GLOBAL = {
    "global_probability": Quantity(
        ("guidance", "classifier", *GLOBAL_CHAIN[1:]), "1", "probability of the class that a chain is guided toward"
    ),
    "mixing": Quantity(
        ("guidance", "member", "class", "next_class"), "1", "steps of recorded chains from predicted to predicted class"
    ),
    "picture_global": Quantity(("class", *IMAGE), "pixels", "decoded last states of guided chains, first member"),
}
PATHS = {
    "path_probability": Quantity(
        ("path", "classifier", "member", "t", "pair", "class"), "1", "class probabilities along paths of embeddings"
    ),
    "picture_path": Quantity(("path", "t", "pair", *IMAGE), "pixels", "decoded points of paths, first member"),
}
COMPUTED = STATISTICS | NOISE | OF_CHAINS | LOCAL | GLOBAL | PATHS
COORDINATES = {
    "family": "family of autoencoders",
    "kernel": "sampler",
    "radius": "size of the noise, or reach s of chains, white units",
    "noise": "kind of noise around embeddings",
    "classifier": "the member's own classifier, or that of the next seed, which guides nothing (held out)",
    "guidance": "whether a classifier guides the chain",
    "diagnosed": "what is diagnosed: numbers of the latent, shares of predicted classes, of codes at each place",
    "path": "kind of path between embeddings",
    "t": "point of a path, from 0 to 1",
    "frame": "number of the pictured state among those kept",
    "start": "id of the image whose embedding chains start around",
    "end": "id of the image at an endpoint of a path: the first half begins, the second half ends them",
    "latent": "number of the latent dimension",
    "first": "number of the latent dimension",
    "second": "number of the latent dimension",
}


def _saved(name: str, quantity: Quantity) -> Quantity:
    """A quantity as arrays.nc has it, by family, and what every sampler gives by sampler."""
    by_kernel = name.startswith(("local_", "global_", "mixing"))
    return quantity._replace(dims=("family", *("kernel",) * by_kernel, *quantity.dims))


EXPERIMENT = Experiment(
    package=__name__,
    question="What does the latent space of autoencoders look like, and what lies around and between embeddings?",
    schema={
        "label": Quantity(("example",), "1", "true class"),
        "picture": Quantity(("end", *IMAGE), "pixels", "test images at the endpoints of paths, in [0, 1]"),
        "sampled": Quantity(("family", "kernel"), "1", "whether chains of the sampler ran in the family's latent"),
        **{name: _saved(name, quantity) for name, quantity in COMPUTED.items()},
        **{name: Quantity((name,), "1", about) for name, about in COORDINATES.items()},
        **SCHEMA,
    },
    check=check,
    fields=FIELDS,
)
