"""Everything that knows FITS and its relatives: frames of 1, 2 and 3 axes, and catalogues."""
