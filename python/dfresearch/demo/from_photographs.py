"""What the demonstrations of images and video share: both are made from the machine's photographs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dfresearch.demo.dataset import DemoPlace, DemoReport
from dfresearch.demo.photographs import Photograph, find_photographs

# Below this an accuracy on the validation split would be one of a handful of photographs.
MINIMUM_PHOTOGRAPHS = 20

PACKAGES_ADVICE = "install the packages of photographs that `make setup` names"

Progress = Callable[[str], None]


def build_from_photographs(
    place: DemoPlace,
    noun: str,
    describe: Callable[[Sequence[Photograph], int], Mapping[str, object]],
    build: Callable[[DemoPlace, Sequence[Photograph], int, Progress], Path],
    seed: int,
    progress: Progress,
    photographs: Sequence[Photograph] | None,
) -> DemoReport:
    """Build a demonstration in its place, unless one of the same settings is there.

    Args:
        place: where it goes.
        noun: what its samples are called.
        describe: (photographs, seed) to everything that what is built depends on.
        build: builds it beside its place and returns that folder.
        seed: of everything that is drawn.
        progress: called with one line of text at a time.
        photographs: what to make it from; None means what the packages on this machine ship.

    Raises:
        ValueError: there are no photographs; and what `build` raises.

    """
    photographs = find_photographs() if photographs is None else list(photographs)
    by_package = dict(Counter(photograph.package for photograph in photographs))
    if not photographs:
        raise ValueError(f"no photographs found: {PACKAGES_ADVICE}")
    listing = ", ".join(f"{count} from {package}" for package, count in by_package.items())
    progress(f"{len(photographs)} photographs: {listing}")

    settings = describe(photographs, seed)
    complete = place.is_complete(settings)
    if complete:
        progress(f"the demonstration data in {place.root} is complete: kept")
    else:
        place.publish(build(place, photographs, seed, progress), settings)

    real, synthetic = (
        sum(place.count_samples(name) for name, media_type in place.media_types.items() if media_type == wanted)
        for wanted in ("real", "synthetic")
    )
    report = DemoReport(place.root, by_package, MINIMUM_PHOTOGRAPHS, real, synthetic, built=not complete)
    progress(f"{real} real and {synthetic} re-rendered {noun} in {place.root}")
    if not report.supports_accuracy:
        progress(
            f"fewer than {MINIMUM_PHOTOGRAPHS} photographs: too few to say anything about accuracy; {PACKAGES_ADVICE}"
        )
    return report
