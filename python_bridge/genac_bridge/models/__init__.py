"""Language models and value models: tokens, weights, losses, the optimizer."""
