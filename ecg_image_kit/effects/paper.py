"""Paper: fibres, age, stains, holes, tears."""
