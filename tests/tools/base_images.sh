#!/usr/bin/env bash
# Makes the base images that the Dockerfiles name, by debootstrap and buildah, into .tools/images. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
images=(buildah --root "$PWD/.tools/images/root" --runroot "$PWD/.tools/images/run")
done=.tools/images/installed
cat tests/tools/bases.Dockerfile tests/tools/base_images.sh | cmp -s - "$done" && exit
echo "making the base images"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p .tools/images
debootstrap --variant=minbase bookworm "$root" >.tools/images/debootstrap.log 2>&1 \
  || { cat .tools/images/debootstrap.log; exit 1; }
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
container=$("${images[@]}" from scratch)
"${images[@]}" add --quiet "$container" "$root" / >/dev/null
"${images[@]}" commit --quiet --rm "$container" docker.io/library/debian:bookworm-slim >/dev/null
for stage in slim:3.11-slim-bookworm full:3.11-bookworm; do
  "${images[@]}" bud --quiet --pull-never --target "${stage%%:*}" --tag "docker.io/library/python:${stage#*:}" \
    --file tests/tools/bases.Dockerfile "$root" >/dev/null
done
cat tests/tools/bases.Dockerfile tests/tools/base_images.sh >"$done" # last: what was interrupted is done again
