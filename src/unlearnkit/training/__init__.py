"""Holds training and prediction: one loop, one recipe and one set of losses for everything that trains."""
