# Sourced by the scripts: `ensure_browser` leaves the path of a Chromium in the environment's CHROMIUM,
# and installs Debian's where there is none and this user may.

find_browser() {
    local candidate
    for candidate in ${CHROMIUM:+"$CHROMIUM"} chromium chromium-browser google-chrome \
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        if command -v -- "$candidate"; then
            return
        fi
    done
    return 1
}

install_browser() {
    local as_root=()
    command -v apt-get >/dev/null || return 1
    if ((EUID)); then
        sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    echo "installing Debian's chromium (once)" >&2
    # without what it recommends (printers, power, another 200 MB), and the fonts that come with that
    "${as_root[@]}" apt-get update -qq >&2 &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >&2
}

ensure_browser() {
    if ! CHROMIUM="$(find_browser)"; then
        if ! install_browser || ! CHROMIUM="$(find_browser)"; then
            echo "tests/browser needs Chromium: install it (Debian: apt-get install chromium; macOS: brew install --cask google-chrome), or set CHROMIUM=/path/to/chromium" >&2
            return 1
        fi
    fi
    export CHROMIUM
}
