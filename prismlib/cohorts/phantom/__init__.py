"""The simulator: subjects from a structural causal model, drawn as frontal chest radiographs.

Everything made here is SIMULATED. It shows that a method does what it claims and how well against
a known truth; it says nothing about patients.
"""
