"""Holds the metrics: each is a pure function from Evidence to Readings, and none of them runs a model."""
