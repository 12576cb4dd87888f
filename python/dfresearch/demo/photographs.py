"""Real photographs that packages on this machine ship.

A package's pictures are a mixture of photographs, paintings, renderings and diagrams, and no header tells them apart.
The rule here: a camera took it of a scene with ordinary optics (no microscope, telescope or scanner). What passed is
listed by name, so a newer package with other pictures adds nothing unseen.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Photograph:
    """One photograph file: `group` names it on every machine, `package` is what ships it."""

    package: str
    group: str
    path: Path


# Python package -> (folder inside it, photographs). Only files in the wheel: nothing is fetched.
PYTHON_PHOTOGRAPHS = {
    "matplotlib": ("mpl-data/sample_data", ("grace_hopper.jpg",)),
    "skimage": (
        "data",
        (
            "astronaut.png",
            "brick.png",
            "camera.png",
            "chelsea.png",
            "coffee.png",
            "grass.png",
            "gravel.png",
            "motorcycle_left.png",  # its right half of the stereo pair is the same scene
            "rocket.jpg",
        ),
    ),
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
}

SYSTEM_SHARE = Path("/usr/share")
# Debian package -> (folder under SYSTEM_SHARE, photographs).
DEBIAN_PHOTOGRAPHS = {
    "lomiri-wallpapers-16.04": (
        "backgrounds",
        (
            "Bridge_by_Sander_Klootwijk.jpg",
            "Dragonfly_by_Bolly.jpg",
            "Picture_0B_by_freespace.jpg",
            "Picture_1A_by_freespace.jpg",
            "Wine_by_Jakkub_Mede.jpg",
            "aitzgorri_by_Aitzol_Berasategi.jpg",
            "free_by_Peter_Nerlich.jpg",
            "friends_by_Aitzol_Berasategi.jpg",
            "greentock_by_Peter_Nerlich.jpg",
            "life_by_Aitzol_Berasategi.jpg",
            "picosdeeuropa_by_Aitzol_Berasategi.jpg",
            "seeding_by_Clements_Engelhardt.jpg",
            "sunset_by_Aitzol_Berasategi.jpg",
        ),
    ),
    "lomiri-wallpapers-20.04": ("backgrounds", ("Kleiber_by_Lukas_Baubkus.jpg",)),
    "mate-backgrounds": (
        "backgrounds/mate/nature",
        (
            "Aqua.jpg",
            "Blinds.jpg",
            "Dune.jpg",
            "FreshFlower.jpg",
            "Garden.jpg",
            "GreenMeadow.jpg",
            "LadyBird.jpg",
            "RainDrops.jpg",
            "Storm.jpg",
            "TwoWings.jpg",
            "Wood.jpg",
            "YellowFlower.jpg",
        ),
    ),
    "plasma-workspace-wallpapers": (
        "wallpapers",
        tuple(
            f"{name}/contents/images/2560x1600.jpg"
            for name in (
                "BytheWater",
                "ColdRipple",
                "ColorfulCups",
                "DarkestHour",
                "EveningGlow",
                "FallenLeaf",
                "Grey",
                "Kite",
                "OneStandsOut",
                "Path",
                "summer_1am",
            )
        ),
    ),
}


def _python_package_folder(package: str) -> Path | None:
    # The specification is enough: importing scikit-learn for two pictures would take seconds.
    specification = importlib.util.find_spec(package)
    if specification is None or not specification.submodule_search_locations:
        return None
    return Path(specification.submodule_search_locations[0])


def find_photographs(system_share: Path = SYSTEM_SHARE) -> list[Photograph]:
    """List the photographs on this machine, always in the same order; absent packages are passed over."""
    listed: list[tuple[str, Path, tuple[str, ...]]] = []
    for package, (folder, names) in PYTHON_PHOTOGRAPHS.items():
        package_folder = _python_package_folder(package)
        if package_folder is not None:
            listed.append((package, package_folder / folder, names))
    for package, (folder, names) in DEBIAN_PHOTOGRAPHS.items():
        listed.append((package, system_share / folder, names))
    return [
        Photograph(package, f"{package}/{name}", folder / name)
        for package, folder, names in listed
        for name in names
        if (folder / name).is_file()
    ]
