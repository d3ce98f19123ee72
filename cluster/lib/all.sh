# All parts of lib/, for the commands in the folder above. Sourced, never run.
#
# What is switched off for shellcheck in the parts, which it looks at one by
# one: SC2154, a variable that another part sets; SC2164, a cd that fails, which
# errexit catches.
# shellcheck shell=bash

for part in settings log build process node images services knative existing; do
  # shellcheck source=/dev/null
  source "$(dirname "${BASH_SOURCE[0]}")/$part.sh"
done
