"""Holds how a run computes: device, precision, processes, randomness, cost, progress and tracking."""
