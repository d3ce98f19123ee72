#!/usr/bin/env bash
# Fetches the Codex CLI (Apache-2.0) that tests run into the user's cache and
# prints the path of its program. Does nothing when it is there. Nothing is
# installed half: the folder appears, complete and checked, in one rename.
set -euo pipefail

readonly VERSION=0.169.0
readonly TARGET="${XDG_CACHE_HOME:-$HOME/.cache}/graf/bin/codex-$VERSION"

fail() {
	echo "install-codex: $*" >&2
	exit 1
}

case "$(uname -s)-$(uname -m)" in
Linux-x86_64)
	platform=linux-x64
	integrity='sha512-o05NyAOCDygSPRo1yinzxvkRSdmsZyBD9E7mbpmjRanSfM8lypqWtQgEo4XfNkwhuCR2aFu8mlGOsQGFXVbVww=='
	;;
Linux-aarch64)
	platform=linux-arm64
	integrity='sha512-NZ/DaQUpcQmxmqee7Z9uC1rzw3GhSbooawcaTe1LN5Yk+WlinUKGdTXJgClRT/9ogQEEM9TWxYzvxPfj5G/xFg=='
	;;
*) fail "there is no Codex for $(uname -s) on $(uname -m) here: the tests run on Linux, on x86_64 or aarch64" ;;
esac
readonly PACKAGE="@openai/codex@$VERSION-$platform"

# check_integrity FILE compares with npm's own notation, base64 of the SHA-512,
# by coreutils alone.
check_integrity() {
	local want got
	want="$(base64 -d <<<"${integrity#sha512-}" | od -An -v -tx1 | tr -d ' \n')"
	got="$(sha512sum "$1")"
	[[ ${got%% *} == "$want" ]] || fail "$PACKAGE has SHA-512 ${got%% *}, want $want"
}

if [[ -x $TARGET/bin/codex ]]; then
	echo "$TARGET/bin/codex"
	exit 0
fi

"$(dirname "${BASH_SOURCE[0]}")/install-node.sh"
mkdir -p "${TARGET%/*}"
work="$(mktemp -d "$TARGET.install-XXXXXX")"
trap 'rm -rf "$work"' EXIT

echo "install-codex: fetching $PACKAGE, 167 MB" >&2
(cd "$work" && npm pack --silent "$PACKAGE" >&2) || fail "npm pack $PACKAGE failed"
archive="$(find "$work" -maxdepth 1 -name '*.tgz' -print -quit)"
[[ -n $archive ]] || fail "npm pack left no archive"
check_integrity "$archive"

# The program and what it runs by itself, without what it speaks and hears with.
tar -xzf "$archive" -C "$work" --strip-components=3 --wildcards --exclude='*/codex-resources/voice' 'package/vendor/*'
rm -f "$archive"
chmod -R u=rwX,go=rX "$work"
# -T: a second installer that was quicker must not get our folder inside its own.
mv -T "$work" "$TARGET" 2>/dev/null || [[ -x $TARGET/bin/codex ]] || fail "cannot create $TARGET"
trap - EXIT
rm -rf "$work"
echo "$TARGET/bin/codex"
