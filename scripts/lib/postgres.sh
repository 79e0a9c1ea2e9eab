# Sourced by the scripts: `ensure_postgres` sees that there is a PostgreSQL 15 or later for a private cluster
# of the tests, and installs Debian's where there is none and this user may.

has_postgres() {
    local found
    for found in ${PG_BIN:+"$PG_BIN"} /usr/lib/postgresql/*/bin "$(dirname -- "$(command -v initdb || echo /)")"; do
        if [[ -x "$found/initdb" && -x "$found/postgres" ]]; then
            return
        fi
    done
    return 1
}

install_postgres() {
    local as_root=()
    command -v apt-get >/dev/null || return 1
    if ((EUID)); then
        sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    echo "installing Debian's postgresql (once)" >&2
    # the tests make a cluster of their own: Debian's is neither made nor started
    "${as_root[@]}" mkdir -p /etc/postgresql-common &&
        { [[ -e /etc/postgresql-common/createcluster.conf ]] ||
            echo "create_main_cluster = false" | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null; } &&
        "${as_root[@]}" apt-get update -qq >&2 &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends postgresql >&2
}

ensure_postgres() {
    if ! has_postgres && { ! install_postgres || ! has_postgres; }; then
        echo "the tests of a shared ledger need PostgreSQL 15 or later: install it (Debian: apt-get install postgresql; macOS: brew install postgresql@17), or set PG_BIN to the directory of initdb; they fail without it" >&2
    fi
}
