"""Write manifests for the public data sets that the benchmarks use, from a folder that holds them.

    python benchmarks/manifests.py --data ../shared/data --out results/manifests

Each set becomes one CSV with absolute paths, labels, and a group that keeps one object on one side of a split.
`--ship` writes the manifests of resources/ in the same way, with paths relative to them, and copies what needs none.
"""

import argparse
import shutil
from pathlib import Path

import pandas as pd


def mk_standards(folder: Path, archive: str = "spectra.zip") -> pd.DataFrame:
    """MK standards; one code such as t010l50p00 is one star, whichever library it is in."""
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    stem = table["file"].str.removesuffix(".rbn")
    return pd.DataFrame(
        {
            "id": "mk/" + stem,
            "path": archive + "/" + table["file"],
            "row": "",
            "class": table["class"],
            "spectral_type": table["spectral_type"],
            "group": "mk/" + stem.str.split("/").str[-1],
        }
    )


def pyhammer_templates(folder: Path, archive: str = "templates.fits.gz") -> pd.DataFrame:
    """PyHammer's co-added BOSS templates, one table row each."""
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    name = "pyhammer/" + table["name"]
    frame = {"id": name, "path": archive, "row": table["row"], "class": table["class"]}
    return pd.DataFrame(frame | {"spectral_type": table["subtype"], "group": name})


def sdss_templates(folder: Path) -> pd.DataFrame:
    """Indo-US stars as the BOSS star templates, one image row each; grouped by HD number."""
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    star = "sdss/" + table["name"].str.extract(r"\((\w+)\)")[0].fillna(table["name"])
    frame = {"id": "sdss/" + table["row"], "path": "spEigenStar-55734_real.fits", "row": table["row"]}
    return pd.DataFrame(frame | {"class": table["class"], "spectral_type": table["name"], "group": star})


def lamost(folder: Path) -> pd.DataFrame:
    """LAMOST spectra, grouped by designation (one star)."""
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    frame = {"id": "lamost/" + table["file"].str.removesuffix(".fits.gz"), "path": "fits/" + table["file"], "row": ""}
    group = "lamost/" + table["designation"]
    return pd.DataFrame(frame | {"class": table["class"], "spectral_type": table["subclass"], "group": group})


def pickles(folder: Path) -> pd.DataFrame:
    """Pickles 1998 library, one composite a type."""
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    name = "pickles/" + table["file"].str.removesuffix(".fit")
    frame = {"id": name, "path": table["file"], "row": "", "class": table["class"]}
    return pd.DataFrame(frame | {"spectral_type": table["subtype_digits_from_name"], "group": name})


def radio_galaxies(folder: Path) -> pd.DataFrame:
    """FIRST radio galaxies (Griese et al. 2023); the group is a 1 arcmin sky position."""
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    return pd.DataFrame(
        {
            "id": table["file"].str.split("/").str[-1].str.removesuffix(".png"),
            "path": "images.zip/" + table["file"],
            "class": table["class"],
            "ra": table["ra_deg"],
            "dec": table["dec_deg"],
            "group": table["group"],
        }
    )


def mirabest(folder: Path) -> pd.DataFrame:
    """MiraBest: FRI, FRII and hybrid radio galaxies with the confidence of the label."""
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    return pd.DataFrame(
        {
            "id": table["file"].str.removesuffix(".fits.gz"),
            "path": "fits/" + table["file"],
            "class": table["fr_class"],
            "confidence": table["confidence"],
            "ra": table["ra_deg"],
            "dec": table["dec_deg"],
            "group": table["group"],
        }
    )


def galaxy_zoo(folder: Path) -> pd.DataFrame:
    """SDSS colour cut-outs with Galaxy Zoo 1 classes."""
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    name = table["sdss_objid"]
    return pd.DataFrame({"id": name, "path": "images.zip/images/" + table["file"], "class": table["class"]})


def hi_galaxies(folder: Path) -> pd.DataFrame:
    """Noise-free HI cubes of nearby galaxies, one galaxy each."""
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    name = table["galaxy"]
    return pd.DataFrame({"id": name, "path": table["file"], "telescope": table["telescope"], "group": name})


def mnist(folder: Path) -> pd.DataFrame:
    """The four MNIST files in their standard split."""
    rows = [("train", "train"), ("t10k", "test")]
    return pd.DataFrame(
        {
            "path": [f"{prefix}-images-idx3-ubyte.gz" for prefix, _ in rows],
            "labels": [f"{prefix}-labels-idx1-ubyte.gz" for prefix, _ in rows],
            "split": [split for _, split in rows],
        }
    )


TABLES = {
    "iris": ["sepal_length", "sepal_width", "petal_length", "petal_width", "class"],
    "pima-indians-diabetes": [
        "pregnancies",
        "glucose",
        "blood_pressure",
        "skin_thickness",
        "insulin",
        "body_mass_index",
        "pedigree",
        "age",
        "class",
    ],
}
# Edge-brightened, edge-darkened and bent sources in small files.
SHAPES = (
    *("H3C109", "H3C123", "H3C153", "H3C20", "H3C234", "H3C300", "H3C319", "H3C382"),
    *("L3C171", "L3C274", "L3C288", "L3C76.1"),
)
SETS = {
    "stars_mk_standards": mk_standards,
    "stars_pyhammer_templates": pyhammer_templates,
    "stars_sdss_templates": sdss_templates,
    "stars_lamost": lamost,
    "stars_pickles": pickles,
    "radio_galaxy_dataset": radio_galaxies,
    "mirabest_first": mirabest,
    "galaxyzoo1_sdss": galaxy_zoo,
    "hi_galaxy_cubes": hi_galaxies,
    "mnist": mnist,
}


def write(data: Path, out: Path) -> None:
    """Write `<set>.csv` for every set found below `data`, and `stars_all.csv` with the five star sets."""
    out.mkdir(parents=True, exist_ok=True)
    stars = []
    for name, make in SETS.items():
        if not (data / name).is_dir():
            continue
        table = make(data / name)
        for column in {"path", "labels"} & set(table.columns):
            table[column] = str((data / name).resolve()) + "/" + table[column]
        table.to_csv(out / f"{name}.csv", index=False)
        if name.startswith("stars_"):
            stars.append(table)
    for name, columns in TABLES.items():
        if (data / "tables").is_dir():
            table = pd.read_csv(data / "tables" / f"{name}.csv", names=columns, dtype=str)
            table.insert(0, "id", [f"{name}-{k:03}" for k in range(len(table))])
            table.to_csv(out / f"{name}.csv", index=False)
    if stars:
        pd.concat(stars).to_csv(out / "stars_all.csv", index=False)


def ship(data: Path, resources: Path, hi_bytes: int = 2_800_000) -> None:
    """Copy what may ship into `resources`, with its manifests; HI cubes from the smallest up to `hi_bytes`."""
    stars = resources / "stars"
    stars.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data / "stars_mk_standards/spectra.zip", stars / "mk_standards.zip")
    shutil.copyfile(data / "stars_pyhammer_templates/templates.fits.gz", stars / "pyhammer_templates.fits.gz")
    tables = [
        mk_standards(data / "stars_mk_standards", "mk_standards.zip"),
        pyhammer_templates(data / "stars_pyhammer_templates", "pyhammer_templates.fits.gz"),
    ]
    pd.concat(tables).to_csv(stars / "manifest.csv", index=False)

    radio = resources / "radio_galaxies"
    radio.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data / "radio_galaxy_dataset/images.zip", radio / "images.zip")
    radio_galaxies(data / "radio_galaxy_dataset").to_csv(radio / "manifest.csv", index=False)

    hi = resources / "hi_galaxies"
    hi.mkdir(parents=True, exist_ok=True)
    table = hi_galaxies(data / "hi_galaxy_cubes")
    size = [(data / "hi_galaxy_cubes" / path).stat().st_size for path in table["path"]]
    table = table.assign(size=size).sort_values("size")
    table = table[table["size"].cumsum() <= hi_bytes].drop(columns="size").sort_values("id")
    for path in table["path"]:
        shutil.copyfile(data / "hi_galaxy_cubes" / path, hi / path)
    table.to_csv(hi / "manifest.csv", index=False)

    copies = {"radio_3c": ("radio_3c_images", [f"{name}.fits.gz" for name in SHAPES])}
    copies["sdc1"] = ("sdc1_b1_1000h", ["B1_1000h_x0-760.fits.gz", "truth.csv.gz"])
    for name, (origin, files) in copies.items():
        (resources / name).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(data / origin / file, resources / name / file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with one sub-folder a data set")
    parser.add_argument("--out", type=Path, help="folder for the manifests")
    parser.add_argument("--ship", type=Path, metavar="RESOURCES", help="copy what may ship into this folder")
    options = parser.parse_args()
    if options.out:
        write(options.data, options.out)
    if options.ship:
        ship(options.data, options.ship)


if __name__ == "__main__":
    main()
