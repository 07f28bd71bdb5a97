"""A reproducible companion to PRISM: language-guided counterfactual chest radiographs."""

__version__ = "0.1.0"
