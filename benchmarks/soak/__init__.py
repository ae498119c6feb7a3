"""A long run with faults: every mask is compared with the mask of a single thread."""
