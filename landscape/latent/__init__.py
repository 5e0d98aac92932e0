"""The latent space of an autoencoder: what it looks like, sampling in it, moving through it."""
