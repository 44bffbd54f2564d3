"""Runs the models on the data and records what they do, as Evidence."""
