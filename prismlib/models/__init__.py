"""Networks: what ships with the package, how it is loaded and checked, and how it is trained."""
