"""The files of a simulated field in its folder; apart from the simulation, so that naming them loads nothing."""

IMAGE, TRUTH, PRIMARY_BEAM = "field.fits", "truth.csv", "primary_beam.fits"
