"""Holds the methods that fit a linear head over a frozen body, and three ways to remove rows from such a head."""
