"""Who is imaged: label tables, splits, and cohorts of real and simulated chest radiographs."""
