"""Arithmetic on windows: the kernels that a tape is made of, and what runs it. Knows no graph."""
