"""Nearest neighbours in a latent space."""
