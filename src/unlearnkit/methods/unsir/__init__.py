"""UNSIR: error-maximising noise, impair, repair."""
