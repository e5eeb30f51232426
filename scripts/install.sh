#!/bin/sh
# Installs what the next command needs, when it is not there yet: `run` for running Solum, `dev` for tests and checks as well.
set -eu
cd "$(dirname "$0")/.."

case "${1:-run}" in
  run) probe=node_modules/.bin/node; omit=--omit=dev; what="what Solum needs to run (about 20 s)" ;;
  dev) probe=node_modules/.bin/vitest; omit=; what="everything that developing needs (up to a minute)" ;;
  *) echo "usage: install.sh run|dev" >&2; exit 2 ;;
esac

# npm records each install here; a newer lock file means that the tree is stale.
is_there() { [ -e "$probe" ] && [ ! package-lock.json -nt node_modules/.package-lock.json ]; }

if is_there; then exit 0; fi

# Two commands at once: one installs, the other waits for it. The lock goes with the process that holds it.
exec 9<scripts
flock 9
if is_there; then exit 0; fi

if [ -e "$probe" ] && [ -e node_modules/.bin/vitest ]; then omit=; fi
echo "Installing $what ..." >&2
npm ci $omit --no-audit --no-fund --loglevel=error >&2
touch node_modules/.package-lock.json
