"""The yuzu backend: windows whose convolutions see a few mixtures of all mutants, not each."""
