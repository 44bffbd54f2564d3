"""Training and prediction: one loop, one recipe, one set of losses for everything that trains."""
