"""Fleming: from FITS files to catalogues, metrics and synthetic images."""

__version__ = "0.1.0"
