"""Comparison: many methods, seeds and models on one request, judged alike, as a table and a picture."""
