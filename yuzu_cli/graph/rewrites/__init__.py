"""Rewrites of a captured graph: small passes on one node, each keeping the numbers to rounding."""
