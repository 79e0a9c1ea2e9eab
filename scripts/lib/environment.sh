# Sourced by the scripts: `checkout` is the repository's directory, `ensure_environment EXTRA`
# makes .venv in it where needed and leaves its interpreter in `python`.

checkout="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)"
environment="$checkout/.venv"
python="$environment/bin/python"

# Hundreds of processes start in a run of the tests: without bytecode each compiles the package again.
export PYTHONDONTWRITEBYTECODE=

# A name on PATH proves nothing (version managers leave shims for versions that are not there): run it.
is_usable_python() {
    "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3.13 python3; do
        if is_usable_python "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    echo "callsheet needs Python 3.11 or later with its venv module: install it, or set PYTHON=/path/to/python3" >&2
    return 1
}

# What the benchmarks' rivals are made of: for whoever develops, and nobody else.
rivals="$checkout/benchmarks/requirements.txt"

# What an installation depends on: where the checkout lies, and what is asked for.
wanted() {
    printf '%s\n' "$checkout"
    cat -- "$checkout/pyproject.toml" "$rivals"
}

has_installed() {
    [[ -x "$python" ]] && wanted | cmp -s -- - "$environment/.installed-$1"
}

ensure_environment() {
    local extra="$1" installed
    # `dev` holds all that `all` does
    for installed in dev all; do
        if has_installed "$installed"; then
            return
        fi
        [[ "$installed" == "$extra" ]] && break
    done
    if ! "$python" -m pip --version >/dev/null 2>&1; then
        local base
        base="$(find_python)"
        echo "making .venv with $("$base" --version)" >&2
        "$base" -m venv --clear -- "$environment"
    fi
    echo "installing callsheet[$extra] into .venv (once, and again when pyproject.toml changes)" >&2
    local more=()
    [[ "$extra" == all ]] || more=(--requirement "$rivals")
    # --no-compile: of 800 MB of packages a few are imported, and these are compiled then
    (cd -- "$checkout" &&
        "$python" -m pip install -qq --disable-pip-version-check --no-compile --editable ".[$extra]" ${more[@]+"${more[@]}"})
    # Written last: an installation that was cut short is done again.
    wanted >"$environment/.installed-$extra"
}
