"""Holds the method erase: stages, directions, projection and refit, the pass in lockstep, the head's rows."""
