"""The names of parameters that are directions, which change when the sky is turned."""

# Twice the position angle as a vector: flips and exchanges of axes only change its signs.
COSINE, SINE = "cos_2pa", "sin_2pa"
# The direction in which a galaxy recedes, as a unit vector along x and y: exchanges of axes exchange the two.
ALONG_X, ALONG_Y = "cos_pa", "sin_pa"
