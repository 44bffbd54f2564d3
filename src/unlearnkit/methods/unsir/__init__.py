"""Holds UNSIR, which learns error-maximising noise, impairs with it, and repairs."""
