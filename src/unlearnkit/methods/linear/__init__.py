"""A linear head over a frozen body: exact re-fitting, and three ways to remove rows from a head that is fitted."""
