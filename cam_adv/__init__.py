"""Type I adversarial examples made in the latent space of a supervised VAE, judged independently."""

__version__ = "0.1.0"
