"""Computing on deltas: what an edit changes, and only where it does.

`states` holds values in flight and their geometry, `kernels` the arithmetic on them, `steps` the
table from strategy to kernel. The windowed and the yuzu backends run on it.
"""
