#!/bin/sh
# xenbackup on a host without dpkg: `packaging/install.sh install|uninstall`, as root.
# PREFIX (/usr/local) gets the program, /etc its units: what a package would put there is left alone.
set -eu
# Members of the groups use the program too, whatever root's own umask is.
umask 022

PREFIX=${PREFIX:-/usr/local}
PYTHON=${PYTHON:-python3}
UNITS=/etc/systemd/system
HOME_FOLDER=$PREFIX/lib/xenbackup
SERVICES="xenbackup xenbackup-recover xenbackup-run@ xenbackup-verify"
ENABLED="xenbackup.service xenbackup-recover.service xenbackup-verify.timer"
SOURCE=$(cd "$(dirname "$0")/.." && pwd)

refuse() {
    echo "xenbackup: $1" >&2
    exit 1
}

has_systemd() {
    [ -d /run/systemd/system ]
}

stop_services() {
    has_systemd || return 0
    systemctl stop xenbackup-verify.timer xenbackup-verify.service xenbackup.service \
        'xenbackup-run@*.service' 2>/dev/null || true
}

place() { # FILE TARGET: with the program's path as it is here
    mkdir -p "$(dirname "$2")"
    sed "s|/usr/bin/xenbackup|$PREFIX/bin/xenbackup|g" "$SOURCE/$1" >"$2.new"
    chmod 644 "$2.new"
    mv "$2.new" "$2"
}

install() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        refuse "Python 3.11 or newer is needed; $PYTHON is older. Hint: PYTHON=python3.11"
    # Built aside first: what goes wrong here leaves the installed version at work.
    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
    cp -R "$SOURCE/xenbackup" "$SOURCE/pyproject.toml" "$SOURCE/README.md" "$SOURCE/LICENSE" "$build"
    "$PYTHON" -m venv "$build/builder" || refuse "python3-venv is missing"
    "$build/builder/bin/pip" install --quiet 'setuptools>=77' wheel
    "$build/builder/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir "$build" "$build"
    "$build/builder/bin/pip" download --quiet --require-hashes --no-deps --dest "$build" \
        --requirement "$SOURCE/packaging/requirements.lock"

    stop_services
    rm -rf "$HOME_FOLDER/venv"
    mkdir -p "$HOME_FOLDER" "$PREFIX/bin"
    "$PYTHON" -m venv "$HOME_FOLDER/venv"
    "$HOME_FOLDER/venv/bin/pip" install --quiet --no-index --no-deps "$build"/*.whl
    ln -sfn "$HOME_FOLDER/venv/bin/xenbackup" "$PREFIX/bin/xenbackup"

    for name in $SERVICES; do
        place "systemd/$name.service" "$UNITS/$name.service"
        place systemd/hardening.conf "$UNITS/$name.service.d/hardening.conf"
    done
    place systemd/xenbackup-verify.timer "$UNITS/xenbackup-verify.timer"
    place systemd/xenbackup.sysusers /etc/sysusers.d/xenbackup.conf
    place systemd/xenbackup.tmpfiles /etc/tmpfiles.d/xenbackup.conf
    place systemd/60-xenbackup.rules /etc/polkit-1/rules.d/60-xenbackup.rules
    mkdir -p /etc/xenbackup/jobs
    if has_systemd; then
        systemd-sysusers
        systemd-tmpfiles --create xenbackup.conf
        systemctl daemon-reload
        # shellcheck disable=SC2086 - a list of names
        systemctl enable --quiet $ENABLED
        systemctl start xenbackup.service xenbackup-verify.timer
    fi
    echo "xenbackup: installed below $PREFIX; next: xenbackup init"
}

uninstall() {
    stop_services
    if has_systemd; then
        # shellcheck disable=SC2086 - a list of names
        systemctl disable --quiet $ENABLED 2>/dev/null || true
    fi
    for name in $SERVICES; do
        rm -f "$UNITS/$name.service" "$UNITS/$name.service.d/hardening.conf"
        rmdir "$UNITS/$name.service.d" 2>/dev/null || true
    done
    rm -f "$UNITS/xenbackup-verify.timer" /etc/sysusers.d/xenbackup.conf \
        /etc/tmpfiles.d/xenbackup.conf /etc/polkit-1/rules.d/60-xenbackup.rules "$PREFIX/bin/xenbackup"
    rm -rf "$HOME_FOLDER"
    if has_systemd; then
        systemctl daemon-reload
    fi
    echo "xenbackup: removed; /etc/xenbackup, /var/lib/xenbackup and all recovery points are as they were"
}

[ "$(id -u)" = 0 ] || refuse "must be run as root"
case "${1:-}" in
install | uninstall) "$1" ;;
*) refuse "usage: packaging/install.sh install|uninstall" ;;
esac
