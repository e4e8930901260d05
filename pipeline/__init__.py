"""Fleming: from FITS files to catalogues, metrics and figures."""

__version__ = "0.1.0"
