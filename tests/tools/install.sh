#!/usr/bin/env bash
# Installs what the tests need and the machine lacks: Debian's packages, npm's, Hisui. Safe to run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=.tools
mkdir -p "$tools"

missing=()
# What compiles the wheel under test, for the interpreter of .venv.
command -v gcc >/dev/null || missing+=(gcc libc6-dev)
command -v ccache >/dev/null || missing+=(ccache)
[ -f "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || missing+=(python3-dev)
command -v chromium >/dev/null || missing+=(chromium)
command -v ffmpeg >/dev/null || missing+=(ffmpeg)
command -v mkvmerge >/dev/null || missing+=(mkvtoolnix)
[ -n "$(fc-list :lang=ja)" ] || missing+=(fonts-ipafont-gothic) # the page's pictures in Japanese
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v debootstrap >/dev/null || missing+=(debootstrap) # base images, and
command -v buildah >/dev/null || missing+=(buildah)         # the Dockerfiles' images
command -v iptables >/dev/null || missing+=(iptables) # networks of machines with a NAT, and
command -v ip >/dev/null || missing+=(iproute2)      # the links between them
command -v nginx >/dev/null || missing+=(nginx-light) # a proxy before the signalling port
command -v etcd >/dev/null || missing+=(etcd-server)
[ -n "$(/sbin/ldconfig -p | grep libopenh264)" ] || missing+=(libopenh264-7) # Hisui decodes H.264 with it
/usr/bin/python3 -c 'import gi; gi.require_version("GstWebRTC", "1.0"); gi.require_version("GstSdp", "1.0")' 2>/dev/null \
  || missing+=(gstreamer1.0-plugins-{base,good,bad} gstreamer1.0-nice python3-gi python3-gst-1.0
    gir1.2-gst-plugins-{base,bad}-1.0) # a WHIP client; python3-gst-1.0 is what makes its promises readable
if ((${#missing[@]})); then
  echo "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$tools/apt.log" 2>&1 \
    || { cat "$tools/apt.log"; exit 1; }
fi

# `installed` is written last: what was interrupted is done again.
if ! cmp -s tests/tools/package.json "$tools/npm/installed"; then
  echo "installing the browser's driver, the Sora SDK, WHIP clients and the load generator's WebRTC"
  mkdir -p "$tools/npm"
  cp tests/tools/package.json "$tools/npm/package.json"
  (cd "$tools/npm" && npm install --loglevel=error --no-audit --no-fund --no-package-lock --engine-strict=false)
  # One of the WHIP clients comes as modules of node.
  echo 'export { WHIPClient } from "@eyevinn/whip-web-client";' >"$tools/npm/eyevinn_entry.mjs"
  (cd "$tools/npm" && npx esbuild eyevinn_entry.mjs --bundle --format=esm --log-level=error --outfile=eyevinn.mjs)
  cp tests/tools/package.json "$tools/npm/installed"
fi

if [ ! -x "$tools/hisui" ]; then
  echo "installing Hisui"
  wheels=$(mktemp -d)
  trap 'rm -rf "$wheels"' EXIT
  .venv/bin/python -m pip download --quiet --pre --no-deps --python-version 3.12 --only-binary=:all: \
    --dest "$wheels" hisui==2026.1.0.dev0
  .venv/bin/python -m zipfile -e "$wheels"/hisui-*.whl "$wheels/unpacked"
  install -m 755 "$wheels"/unpacked/hisui-*.data/scripts/hisui "$tools/hisui"
fi

if [ ! -x "$tools/promtool" ]; then
  echo "installing promtool"
  package=$(mktemp -d)
  (cd "$package" && apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg-deb --extract prometheus_*.deb .)
  install -m 755 "$package/usr/bin/promtool" "$tools/promtool"
  rm -rf "$package"
fi

# The load generator's clip: VP9 at 1 Mbit/s and Opus, 20 s. A file has its name when it is whole.
media=$tools/media
mkdir -p "$media"
if [ ! -s "$media/v.ivf" ]; then
  ffmpeg -v error -y -f lavfi -i "testsrc2=size=640x480:rate=30,noise=alls=12:allf=t" -t 20 \
    -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 1M -minrate 1M -maxrate 1M -bufsize 500k -g 300 -keyint_min 300 \
    -error-resilient 1 -lag-in-frames 0 -auto-alt-ref 0 "$media/part.ivf"
  mv "$media/part.ivf" "$media/v.ivf"
fi
if [ ! -s "$media/a.ogg" ]; then
  ffmpeg -v error -y -f lavfi -i "sine=f=440:r=48000,tremolo=f=5:d=0.7" -f lavfi -i "anoisesrc=r=48000:a=0.05:c=pink" \
    -filter_complex "[0][1]amix=2" -t 20 -ac 2 -c:a libopus -b:a 32k -application voip -frame_duration 20 "$media/part.ogg"
  mv "$media/part.ogg" "$media/a.ogg"
fi
