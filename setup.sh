#!/usr/bin/env bash
# Installs what dfresearch needs and is missing, and says what it does. Called by `make setup`.
set -euo pipefail
cd "$(dirname "$0")"

required="pkg-config clang libclang-dev cmake nasm g++ python3-dev python3-venv ffmpeg
libavcodec-dev libavdevice-dev libavfilter-dev libavformat-dev libavutil-dev libswresample-dev libswscale-dev"
photographs="lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 mate-backgrounds plasma-workspace-wallpapers"
speech="asterisk-core-sounds-en-wav asterisk-core-sounds-en espeak-ng flite"
# What the recordings say is among the documents of asterisk-core-sounds-en, which containers often leave out.
transcripts="/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"

updated=""

say() { printf 'setup: %s\n' "$*"; }

missing_packages() {
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$package"
    done
}

# Installs packages as root or by a sudo that asks nothing; otherwise fails.
apt_install() {
    local as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 1
        as_root="sudo -n"
    fi
    [ -n "$updated" ] || $as_root apt-get -qq update >/dev/null || return 1
    updated=yes
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

if command -v apt-get >/dev/null; then
    # shellcheck disable=SC2086
    missing=$(missing_packages $required)
    if [ -n "$missing" ]; then
        say "installing system packages: $missing"
        # shellcheck disable=SC2086
        apt_install $missing || {
            say "these system packages are missing and could not be installed here. Run this line, then start again:"
            say "    sudo apt-get update && sudo apt-get install -y $missing"
            exit 1
        }
    fi
    # shellcheck disable=SC2086
    missing=$(missing_packages $photographs)
    # One by one: a distribution may lack one of them.
    for package in $missing; do
        say "installing photographs for the demo: $package"
        apt_install "$package" ||
            say "not installed; the demo has fewer photographs. To have them: sudo apt-get install -y $package"
    done
    # shellcheck disable=SC2086
    missing=$(missing_packages $speech)
    for package in $missing; do
        say "installing speech for the demo: $package"
        apt_install -o "Dpkg::Options::=--path-include=$transcripts" "$package" ||
            say "not installed; the demo lacks its speech. To have it: sudo apt-get install -y $package"
    done
    if [ ! -f "$transcripts" ] && [ -z "$(missing_packages asterisk-core-sounds-en)" ]; then
        say "installing the transcripts of the speech for the demo again: $transcripts is missing"
        apt_install --reinstall -o "Dpkg::Options::=--path-include=$transcripts" asterisk-core-sounds-en ||
            say "not installed; the demo lacks its speech"
    fi
else
    for tool in pkg-config clang cmake nasm c++ ffmpeg; do
        command -v "$tool" >/dev/null || { say "$tool is missing: install it with your system's packages"; exit 1; }
    done
fi

rust_version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
command -v cargo >/dev/null || { say "cargo is missing: install Rust $rust_version or newer, for example by rustup"; exit 1; }
found=$(cargo --version | cut -d' ' -f2)
if [ "$(printf '%s\n' "$rust_version" "$found" | sort -V | head -n 1)" != "$rust_version" ]; then
    say "cargo $found is too old: install Rust $rust_version or newer, for example by rustup"
    exit 1
fi

uv=$(command -v uv || echo .tools/bin/uv)
if [ ! -x "$uv" ]; then
    say "installing uv into .tools/"
    python3 -m venv .tools
    .tools/bin/pip install --quiet --disable-pip-version-check uv
fi

say "installing Python packages and building the Rust module (the first time takes a few minutes)"
"$uv" sync --quiet
say "ready"
