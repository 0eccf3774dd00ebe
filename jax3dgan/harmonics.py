"""Constants of real spherical harmonics, for whoever has colours in them, with or without JAX."""

C0 = 0.28209479177387814  # √(1/4π), the constant function; a colour of .5 + C0·coefficient
COUNTS = (1, 4, 9, 16)  # coefficients of degrees 0 to 3
