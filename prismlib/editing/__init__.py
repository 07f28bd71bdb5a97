"""How a counterfactual is made: inversion, attention control, recipes and the S_CLIP filter."""
