#!/usr/bin/env bash
# Installs what the tests need and the machine lacks: Debian's packages, npm's, Hisui. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=.tools
mkdir -p "$tools"

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v ffmpeg >/dev/null || missing+=(ffmpeg)
command -v mkvmerge >/dev/null || missing+=(mkvtoolnix)
if ((${#missing[@]})); then
  echo "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$tools/apt.log" 2>&1 \
    || { cat "$tools/apt.log"; exit 1; }
fi

if ! cmp -s tests/tools/package.json "$tools/npm/package.json"; then
  echo "installing the browser's driver, the Sora SDK and the load generator's WebRTC"
  mkdir -p "$tools/npm"
  cp tests/tools/package.json "$tools/npm/package.json.new"
  (cd "$tools/npm" && mv package.json.new package.json && npm install --silent --no-audit --no-fund --no-package-lock) \
    || { rm -f "$tools/npm/package.json"; exit 1; }
fi

if [ ! -x "$tools/hisui" ]; then
  echo "installing Hisui"
  wheels=$(mktemp -d)
  .venv/bin/python -m pip download --quiet --pre --no-deps --python-version 3.12 --only-binary=:all: \
    --dest "$wheels" hisui==2026.1.0.dev0
  python3 -m zipfile -e "$wheels"/hisui-*.whl "$wheels/unpacked"
  install -m 755 "$wheels"/unpacked/hisui-*.data/scripts/hisui "$tools/hisui"
  rm -r "$wheels"
fi

# The load generator's clip: VP9 at 1 Mbit/s and Opus, 20 s.
if [ ! -s "$tools/media/a.ogg" ]; then
  mkdir -p "$tools/media"
  ffmpeg -v error -y -f lavfi -i "testsrc2=size=640x480:rate=30,noise=alls=12:allf=t" -t 20 \
    -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M -minrate 1M -maxrate 1M -bufsize 500k -g 300 -keyint_min 300 \
    -error-resilient 1 -lag-in-frames 0 -auto-alt-ref 0 "$tools/media/v.ivf"
  ffmpeg -v error -y -f lavfi -i "sine=f=440:r=48000,tremolo=f=5:d=0.7" -f lavfi -i "anoisesrc=r=48000:a=0.05:c=pink" \
    -filter_complex "[0][1]amix=2" -t 20 -ac 2 -c:a libopus -b:a 32k -application voip -frame_duration 20 "$tools/media/a.ogg"
fi
