#!/usr/bin/env bash
# Installs Node.js with npm, which the TypeScript SDK is built with and the Codex
# CLI is fetched by, where this machine lacks it.
set -euo pipefail

fail() {
	echo "install-node: $*" >&2
	exit 1
}

if ! command -v npm >/dev/null; then
	if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
		fail 'npm is missing and cannot be installed without root and apt-get: install Node.js with npm (https://nodejs.org)'
	fi
	echo 'install-node: installing npm' >&2
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends npm >&2 ||
		fail 'apt-get install npm failed: run apt-get update and try again'
fi

# The same floor as "engines" in sdk/typescript/package.json.
node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 18 || major == 18 && minor >= 17 ? 0 : 1)' ||
	fail "Node.js is $(node --version): 18.17 or newer is needed"
