"""Type I adversarial examples from the latent space of a supervised VAE, evaluated by an independent judge."""

__version__ = "0.2.0"
