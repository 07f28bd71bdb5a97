"""How a counterfactual is judged: what it keeps, what it changes, and how sure we are of that.

Nothing here edits, trains, draws or reads files. Images are float arrays (H, W) in [0, 1], bright
= dense; probabilities are in [0, 1]; a measure that cannot be taken is NaN and never a guess.
"""
