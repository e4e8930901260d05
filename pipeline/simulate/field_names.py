"""The files of a simulated field or cube in its folder, apart from the simulation: naming them loads nothing."""

IMAGE, CUBE, TRUTH, PRIMARY_BEAM = "field.fits", "cube.fits", "truth.csv", "primary_beam.fits"
