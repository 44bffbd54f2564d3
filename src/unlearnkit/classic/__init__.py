"""Holds estimators beside networks that forget rows of the data that they were fitted to, with scikit-learn's interfaces."""
