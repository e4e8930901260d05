"""Which axes of a stored array a frame keeps: degenerate ones and the axis of a stack go."""

from collections.abc import Sequence

from astropy.io import fits

from pipeline.errors import UserError
from pipeline.sky.headers import axis_type, is_celestial, value
from pipeline.sky.spectra import has_coefficients

KINDS = {"spectrum": 1, "image": 2, "cube": 3}
_PLURALS = {"spectrum": "spectra", "image": "images", "cube": "cubes"}


def degenerate_axes(header: fits.Header, shape: Sequence[int], ndim: int | None) -> tuple[int, ...]:
    """The numpy axes of length 1 to remove, ascending.

    With `ndim` asked for, as many as lead to it, non-celestial and leading ones first; without it all that
    are not celestial, though one axis always stays.
    """
    total = len(shape)
    single = [axis for axis, size in enumerate(shape) if size == 1]
    single.sort(key=lambda axis: (is_celestial(header, total - axis), axis))
    if ndim is None:
        keep = [axis for axis in single if not is_celestial(header, total - axis)]
        count = min(len(keep), total - 1)
    else:
        count = max(total - ndim, 0)
    return tuple(sorted(single[:count]))


def plan_axes(
    header: fits.Header, shape: tuple[int, ...], kind: str | None, row: int | None, source: object
) -> tuple[str, tuple[int, ...]]:
    """The kind of frame and the numpy axes to remove, from what is asked for and what is there.

    Raises
    ------
    UserError : more than three axes are longer than 1, the data are not of `kind`, or are a stack and `row` is None.
    """
    real = sum(size > 1 for size in shape)
    if kind is None:
        removed = degenerate_axes(header, shape, None)
        ndim = len(shape) - len(removed)
        if row is not None and 0 not in removed:
            removed, ndim = (0, *removed), ndim - 1
        if row is None and ndim == 2 and is_lamost(header):
            return "spectrum", (0, *removed)
        planes = [size for axis, size in enumerate(shape) if axis_type(header, len(shape) - axis) == "STOKES"]
        if ndim > 3 and max(planes, default=1) > 1:
            raise UserError(source, f"holds {max(planes)} Stokes planes", "cut out the one of Stokes I")
        if not 1 <= ndim <= 3:
            raise UserError(source, f"has {ndim} axes longer than 1", "cut it to at most 3 axes or choose a row")
        return list(KINDS)[ndim - 1], removed
    ndim = KINDS[kind]
    if row is None and kind == "spectrum" and real == 2 and len(shape) == 2 and is_lamost(header):
        return kind, (0,)
    removed = degenerate_axes(header, shape, ndim)
    if len(shape) - len(removed) == ndim:
        return kind, removed
    stacked = len(shape) - len(removed) == ndim + 1
    if stacked and row is not None:
        # All degenerate axes are gone, so that the first that is left is the one of the stack.
        return kind, tuple(sorted((kept_axes(len(shape), removed)[0], *removed)))
    if stacked and (kind != "spectrum" or not is_celestial(header, 1)):
        raise UserError(
            source,
            f"holds a stack of {shape[kept_axes(len(shape), removed)[0]]} {_PLURALS[kind]}",
            "choose one by its row",
        )
    found = " x ".join(str(size) for size in shape)
    raise UserError(source, f"is not a {kind}: its shape is {found}".replace("a image", "an image"), "check its kind")


def kept_axes(total: int, removed: Sequence[int]) -> list[int]:
    """The numpy axes of `total` that are not among `removed`."""
    return [axis for axis in range(total) if axis not in removed]


def is_lamost(header: fits.Header) -> bool:
    """Whether the rows of the image are flux, inverse variance, ... of one LAMOST spectrum."""
    return "LAMOST" in str(value(header, "TELESCOP", "")).upper() and has_coefficients(header)
