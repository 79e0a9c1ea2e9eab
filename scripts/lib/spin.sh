# Sourced by the scripts: `ensure_spin` installs Debian's spin and gcc where they are missing and this user may.

has_spin() {
    command -v spin >/dev/null && command -v gcc >/dev/null
}

tell_spin() {
    echo "$1 needs spin and gcc: install them (Debian: apt-get install spin gcc; macOS: brew install spin)" >&2
}

install_spin() {
    local as_root=()
    command -v apt-get >/dev/null || return 1
    if ((EUID)); then
        sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    echo "installing Debian's spin and gcc (once)" >&2
    ${as_root[@]+"${as_root[@]}"} apt-get update -qq >&2 &&
        ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends spin gcc libc6-dev >&2
}

# Without them the tests of the model fail, and say so: everything else is tested all the same.
ensure_spin() {
    has_spin || install_spin || tell_spin tests/test_model.py
}
