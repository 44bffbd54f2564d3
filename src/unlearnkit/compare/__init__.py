"""Compares many methods, seeds and models on one request under the same audit, as a table and a picture."""
