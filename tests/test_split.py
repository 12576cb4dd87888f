"""The split: recomputed with hashlib, and the promises that it keeps when a cache grows."""

import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dfresearch_rs

SEED = 42
VALIDATION_SHARE = 0.2

# The smallest GIF that has a header; bytes after it make the content a different one.
GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


def hash_fraction(domain, *parts):
    digest = hashlib.sha256(domain + SEED.to_bytes(8, "little") + b"".join(parts)).digest()
    return int.from_bytes(digest[:8]) / 2**64


def draws_validation(group):
    kind, name = (b"content:", group) if isinstance(group, bytes) else (b"name:", group.encode())
    return hash_fraction(b"dfresearch split place", kind, name) < VALIDATION_SHARE


def expected_sides(files):
    """The side of every (content hash, group or None), by spreading `train` along links until nothing changes."""
    groups = [content if name is None else name for content, name in files]
    sides = ["val" if draws_validation(group) else "train" for group in groups]
    while True:
        training = {
            key
            for (content, _), group, side in zip(files, groups, sides, strict=True)
            if side == "train"
            for key in (content, ("group", group))
        }
        spread = [
            "train" if content in training or ("group", group) in training else side
            for (content, _), group, side in zip(files, groups, sides, strict=True)
        ]
        if spread == sides:
            return sides
        sides = spread


def write_dataset(cache, name, files):
    """Write (number of the content, group or None) as a dataset with its manifest."""
    folder = cache / "datasets" / "image" / name
    folder.mkdir(parents=True)
    lines = []
    for position, (number, group) in enumerate(files):
        (folder / f"{position}.gif").write_bytes(GIF + number.to_bytes(2))
        if group is not None:
            lines.append(json.dumps({"file": f"{position}.gif", "group": group}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))


def sides(cache, *datasets, **options):
    """The side of every path."""
    definitions = [(name, "real") for name in datasets]
    found = {}
    for side in ("train", "val"):
        samples, _ = dfresearch_rs.gather_samples(cache, "image", definitions, side, **options)
        for path, _ in samples:
            assert path not in found
            found[path] = side
    return found


files = st.lists(st.tuples(st.integers(0, 15), st.sampled_from([None, "a", "b", "c", "photograph é"])), max_size=12)


# How long a machine takes is no property of the code.
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=files, second=files)
def test_the_split_is_what_hashlib_computes_and_growth_moves_nothing_to_val(tmp_path_factory, first, second):
    cache = tmp_path_factory.mktemp("cache")
    write_dataset(cache, "first", first)
    alone = sides(cache, "first")
    write_dataset(cache, "second", second)
    both = sides(cache, "first", "second")
    for found, listed in ((alone, [("first", first)]), (both, [("first", first), ("second", second)])):
        flat = [(f"{name}/{position}.gif", file) for name, held in listed for position, file in enumerate(held)]
        hashed = [(hashlib.sha256(GIF + number.to_bytes(2)).digest(), group) for _, (number, group) in flat]
        truth = dict(zip([path for path, _ in flat], expected_sides(hashed), strict=True))
        assert {
            path.relative_to(cache / "datasets" / "image").as_posix(): side for path, side in found.items()
        } == truth
    assert all(both[path] == "train" for path, side in alone.items() if side == "train")


@pytest.fixture
def cache(tmp_path):
    write_dataset(tmp_path, "cats", [(number, None) for number in range(300)])
    return tmp_path


def test_samples_come_by_rank_and_a_cap_takes_the_first(cache):
    samples, _ = dfresearch_rs.gather_samples(cache, "image", [("cats", "real")], "all")
    ranks = [
        hash_fraction(b"dfresearch sample rank", hashlib.sha256(path.read_bytes()).digest()) for path, _ in samples
    ]
    assert ranks == sorted(ranks)
    capped, _ = dfresearch_rs.gather_samples(cache, "image", [("cats", "real")], "all", max_per_class=100)
    assert list(capped) == list(samples[:100])


def test_a_cap_moves_no_sample(cache):
    whole = sides(cache, "cats")
    for cap in (1, 50, 299):
        capped = sides(cache, "cats", max_per_class=cap)
        assert len(capped) == cap
        assert capped.items() <= whole.items()


def test_another_seed_draws_another_split(cache):
    assert sides(cache, "cats") != sides(cache, "cats", seed=43)
    assert sides(cache, "cats") == sides(cache, "cats", seed=SEED)


def test_a_fifth_validates(cache):
    share = list(sides(cache, "cats").values()).count("val") / 300
    # Five standard deviations of a binomial draw of 300.
    assert abs(share - VALIDATION_SHARE) < 0.116
