"""Holds what several methods share: fitting, importance, teachers, fresh models, the search of a rate."""
