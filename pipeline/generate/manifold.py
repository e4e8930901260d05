"""Does a sample lie where real objects lie, and does it reach all of them: neighbours and moments in features."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

PRECISION_NEIGHBOURS = 3  # Kynkäänniemi et al. 2019, section 3
DENSITY_NEIGHBOURS = 5  # Naeem et al. 2020, section 3


def standardised(real: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """Feature tables `(n, f)` in units of the spread of `real`, features in which real objects do not differ left out.

    Distances then do not depend on the scale that a network happens to give its features.
    """
    deviation = real.std(axis=0)
    alive = deviation > 1e-6 * max(float(deviation.max(initial=0)), np.finfo(float).tiny)
    mean = real[:, alive].mean(axis=0)
    return [(table[:, alive] - mean) / deviation[alive] for table in (real, *others)]


def manifold_measures(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """Precision, recall, density and coverage of `fake` `(m, f)` against `real` `(n, f)`.

    precision : share of fakes within the third-neighbour ball of a real object (Kynkäänniemi et al. 2019, eq. 1 and 2)
    recall : share of real objects within such a ball of a fake (the same, with the roles exchanged)
    density : real balls of the fifth neighbour that hold a fake, per fake and over 5 (Naeem et al. 2020, eq. 4); 1 is
        expected of equal distributions, more is possible where fakes crowd in the middle
    coverage : share of real objects whose ball holds a fake (Naeem et al. 2020, eq. 5); 1 - 2**-5 is expected of equal
        distributions with n = m

    All NaN where there are not more than five of each.
    """
    names = ("precision", "recall", "density", "coverage")
    if min(len(real), len(fake)) <= DENSITY_NEIGHBOURS:
        return dict.fromkeys(names, float("nan"))
    index = NearestNeighbors(n_neighbors=DENSITY_NEIGHBOURS, algorithm="brute").fit(real)
    radii = index.kneighbors()[0]  # (n, 5), an object is not its own neighbour
    apart = np.linalg.norm(real, axis=1)[:, None] ** 2 + np.linalg.norm(fake, axis=1) ** 2 - 2 * real @ fake.T
    apart = np.sqrt(np.maximum(apart, 0))  # (n, m)
    back = NearestNeighbors(n_neighbors=PRECISION_NEIGHBOURS, algorithm="brute").fit(fake).kneighbors()[0]
    narrow, wide = radii[:, PRECISION_NEIGHBOURS - 1, None], radii[:, -1, None]
    return {
        "precision": float((apart <= narrow).any(axis=0).mean()),
        "recall": float((apart <= back[:, -1]).any(axis=1).mean()),
        "density": float((apart <= wide).sum(axis=0).mean() / DENSITY_NEIGHBOURS),
        "coverage": float((apart.min(axis=1) <= wide[:, 0]).mean()),
    }


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """|m1 - m2|**2 + tr(C1 + C2 - 2 (C1 C2)**(1/2)) of the means and covariances of `(n, f)` and `(m, f)`.

    The squared Wasserstein-2 distance of two Gaussians (Dowson & Landau 1982, J. Multivar. Anal. 12, 450). In the
    features of a network of our own: not comparable with an FID, nor between networks. NaN for less than two objects.
    """
    if min(len(first), len(second)) < 2:
        return float("nan")
    one, other = (np.atleast_2d(np.cov(table, rowvar=False)) for table in (first, second))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # The eigenvalues of C1 C2 are those of C1**(1/2) C2 C1**(1/2), which is symmetric.
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0)).sum()
    shift = first.mean(axis=0) - second.mean(axis=0)
    return float(max(shift @ shift + np.trace(one) + np.trace(other) - 2 * cross, 0.0))
