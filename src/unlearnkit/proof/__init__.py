"""Proves later what was done: signatures of run folders, and a ledger of requests and runs."""
