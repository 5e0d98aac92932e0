"""What does the latent space look like; what lies around and between embeddings?

    python -m landscape.main --config=configs/latent.py                     three families on digits, 4 seeds
    python -m landscape.main --config=configs/latent.py:fashion_mnist
    python -m landscape.main --config=configs/latent.py:digits,full         every family and sampler, longer chains
    python -m landscape.main --config=configs/latent.py --config.mcmc.guide=vote
    python -m landscape.main --config=configs/latent.py --config.sweep.weight_decay='(1e-4,1e-2)'
    python -m landscape.main --config=configs/latent.py:digits,smoke        the same code paths in half a minute

Times and results: landscape/experiments/latent/README.md.

tiny_imagenet,full with five families: 1600 PFLOP, of which 225 train 4 classifiers, 170 the autoencoders and 1200 are
chains toward each of 200 classes (those of codes not counted): 15 hours at 30 TFLOP/s (one 80 GB GPU), 3 at 150 (a
v4-8). Estimated from the FLOPs of single steps, within a factor of two or so; not measured.
"""

from landscape import presets
from landscape.experiments.latent.config import KERNELS


def get_config(arg="digits"):
    dataset, smoke, full = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "latent"
    config.num_members = 4  # seeds of classifiers (at each swept value) and of every autoencoder
    config.autoencoder = presets.autoencoder(dataset, smoke, full)
    if not (smoke or full):
        config.autoencoder.num_epochs //= 2  # for an answer in two minutes
    config.families = presets.FAMILIES if full else ("ae", "vae", "fsq")
    config.num_examples = 2000  # test images whose latents are described, or all if there are fewer
    config.population = "genuine"  # or augmented: these images moved toward their runner-up class
    config.augmented = dict(epsilon=presets.AUGMENTED)  # length of that move over the norm of the image
    config.num_fit = 5000  # training images that coordinates, priors and probes are fitted to
    config.mcmc = dict(
        kernels=KERNELS if full else ("mala", "gibbs"),
        guide="member",  # or vote: the mean probability of all classifiers but the held-out one
        temperature=1.0,
        # s, in white units: 1 is a typical spread of the latent in every direction
        radii=(0.1, 0.3, 0.6, 1.0) if full else (0.3, 0.6, 1.0),
        num_embeddings=12,
        num_chains=8,  # for each embedding, or class, and radius; fewer cannot be told to have converged
        num_warmup=100,
        # HMC takes 4 gradients a step, NUTS up to 63.
        num_steps=dict(mala=800, hmc=200, nuts=100, gibbs=1600)
        if full
        else dict(mala=300, hmc=200, nuts=100, gibbs=800),
        num_frames=100,  # states of each chain that are saved
        num_prior=256,  # draws of the prior
    )
    config.paths = dict(num_pairs=8, num_points=17 if full else 9)
    if smoke:
        config.families = ("ae", "fsq")
        config.num_examples = 100
        config.num_fit = 200
        config.mcmc.radii = (0.3, 1.0)
        config.mcmc.num_embeddings = 2
        config.mcmc.num_warmup = 10
        config.mcmc.num_steps = dict(mala=16, hmc=16, nuts=16, gibbs=16)
        config.mcmc.num_frames = 8
        config.mcmc.num_prior = 16
        config.paths = dict(num_pairs=2, num_points=3)
    return config
