"""The metrics: each is a pure function from Evidence to Readings; none of them runs a model."""
