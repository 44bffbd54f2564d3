"""Observation: runs the models on the data and writes down what they do, as Evidence."""
