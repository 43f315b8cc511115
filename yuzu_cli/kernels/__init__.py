"""Arithmetic on windows, free of any graph. May not: know nodes, plans or backends."""
