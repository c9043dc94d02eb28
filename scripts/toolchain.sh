# shellcheck shell=bash disable=SC2015,SC2154
# Finds a Rust toolchain that is new enough and a C compiler, and installs what is missing.
# Sourced by ./run and ./test; `repository` must hold the repository's root.
#
# After `ensure_toolchain`, `cargo` and `rustc` on PATH are the ones to use.

step() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$1" >&2
    shift
    if [ $# -gt 0 ]; then printf '       %s\n' "$@" >&2; fi
    exit 1
}

# Succeeds when version $1 is at least version $2.
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# The oldest Rust that builds this workspace, as its manifest says.
rust_version_min() {
    sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repository/Cargo.toml" | head -n 1
}

# Prints "1.95.0" for a `cargo` or `rustc`; nothing when it does not run (a rustup without toolchain).
version_of() {
    "$@" --version 2>/dev/null | sed -n 's/^[a-z]* \([0-9.]*\).*/\1/p'
}

# Succeeds when both cargo and rustc on PATH run and are new enough.
toolchain_suits() {
    local tool version
    for tool in cargo rustc; do
        version=$(cd "$repository" && version_of "$tool")
        [ -n "$version" ] && version_at_least "$version" "$(rust_version_min)" || return 1
    done
}

can_be_root() { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null 2>&1; }

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

apt_lists_are_fresh=no

# Without root the lists stay as they are.
refresh_apt_lists() {
    [ "$apt_lists_are_fresh" = no ] && can_be_root || return 0
    step "Updating the package lists"
    as_root apt-get update -q >/dev/null || return 1
    apt_lists_are_fresh=yes
}

# Installs Debian or Ubuntu packages. Never removes one that stands in the way.
apt_install() {
    command -v apt-get >/dev/null 2>&1 || {
        printf 'error: there is no apt-get to install %s with; please install it by hand\n' "$*" >&2
        return 1
    }
    can_be_root || {
        printf 'error: %s has to be installed, which needs root, and there is no sudo. As root, run:\n' \
            "$*" >&2
        printf '       apt-get update && apt-get install %s\n' "$*" >&2
        return 1
    }
    refresh_apt_lists || return 1
    step "Installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes \
        apt-get install -q -y -o Dpkg::Use-Pty=0 --no-remove --no-install-recommends "$@" >/dev/null
}

# Prints the version that apt would install of package $1; nothing when there is none.
apt_candidate() {
    apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9][0-9.]*\).*/\1/p'
}

use_rustup() {
    local rustup=$1 name version
    PATH="$(dirname "$rustup"):$PATH"
    # One that is installed already, whatever the default is.
    while read -r name _; do
        case "$name" in stable* | 1.*) ;; *) continue ;; esac
        version=$(version_of "$rustup" run "$name" cargo)
        if [ -n "$version" ] && version_at_least "$version" "$(rust_version_min)"; then
            export RUSTUP_TOOLCHAIN=$name
            return 0
        fi
    done < <("$rustup" toolchain list 2>/dev/null)
    step "Installing the stable toolchain with rustup"
    "$rustup" toolchain install stable --profile minimal --component clippy --component rustfmt \
        --no-self-update >/dev/null || return 1
    export RUSTUP_TOOLCHAIN=stable
}

# rustup may lie in its usual place without being on PATH.
find_rustup() {
    command -v rustup && return 0
    local place="${CARGO_HOME:-$HOME/.cargo}/bin/rustup"
    [ -x "$place" ] && printf '%s\n' "$place"
}

# The distribution's own compilers. Besides the one that came with a release, Debian keeps a newer
# one for its browsers (rustc-web), and Ubuntu keeps one per version (rustc-1.89).
use_distribution() {
    command -v apt-get >/dev/null 2>&1 || return 1
    refresh_apt_lists || return 1
    local suffix version numbered
    numbered=$(apt-cache search --names-only '^cargo-1\.[0-9]+$' | sed -n 's/^cargo\(-1\.[0-9]*\) .*/\1/p' | sort -rV)
    for suffix in '' -web $numbered; do
        version=$(apt_candidate "cargo$suffix")
        # Up to 1.74 Debian numbered cargo 0.x, one ahead of rustc; those are too old in any case.
        [ -n "$version" ] && version_at_least "$version" "$(rust_version_min)" || continue
        if ! apt_install "cargo$suffix" "rustc$suffix"; then
            can_be_root && printf 'error: cargo%s %s would do; if an older Rust package stands in its way, run:\n' \
                "$suffix" "$version" >&2 &&
                printf '       apt-get install cargo%s rustc%s\n' "$suffix" "$suffix" >&2
            return 1
        fi
        if [ -d "/usr/lib/rust$suffix/bin" ]; then PATH="/usr/lib/rust$suffix/bin:$PATH"; fi
        hash -r
        toolchain_suits && return 0
    done
    [ -n "$(apt_candidate rustup)" ] && apt_install rustup && use_rustup "$(command -v rustup)"
}

ensure_rust() {
    local rustup
    if toolchain_suits; then
        toolchain_origin="cargo on PATH"
    elif rustup=$(find_rustup) && use_rustup "$rustup" && toolchain_suits; then
        toolchain_origin="rustup"
    elif use_distribution && toolchain_suits; then
        toolchain_origin="the distribution's packages"
    else
        die "no Rust $(rust_version_min) or newer, and none could be installed" \
            "Install one, for example with rustup, then run this again."
    fi
}

c_compiler_works() {
    printf '#include <stdlib.h>\nint main(void) { return 0; }\n' |
        "${CC:-cc}" -x c - -o /dev/null 2>/dev/null
}

# zstd is C, and rustc links with cc.
ensure_c_compiler() {
    c_compiler_works && return 0
    apt_install gcc libc6-dev && c_compiler_works ||
        die "no working C compiler (${CC:-cc}), which the zstd library needs" \
            "On Debian or Ubuntu: apt-get install gcc libc6-dev"
}

# A bare system has no certificates to check the download of the dependencies against.
ensure_certificates() {
    [ -e /etc/ssl/certs/ca-certificates.crt ] || [ -n "${SSL_CERT_FILE:-}" ] ||
        ! command -v apt-get >/dev/null 2>&1 || apt_install ca-certificates
}

ensure_toolchain() {
    [ "$(uname -s)" = Linux ] || die "inhale runs on Linux"
    ensure_certificates || die "no certificates to download dependencies with"
    ensure_rust
    ensure_c_compiler
    export PATH
    step "Rust $(version_of rustc) ($toolchain_origin)"
}

# Succeeds when the commands, given as command:package, are there or could be installed.
ensure_commands() {
    local pair missing=() package
    for pair in "$@"; do
        package=${pair#*:}
        if ! command -v "${pair%%:*}" >/dev/null 2>&1; then missing+=("$package"); fi
    done
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}
