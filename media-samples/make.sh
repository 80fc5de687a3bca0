#!/usr/bin/env bash
# Makes the clips of this folder with FFmpeg (libvpx, libopus). What they show and hold is in README.md.
set -euo pipefail
cd "$(dirname "$0")"

picture="testsrc2=size=640x360:rate=30,drawbox=color=white:t=fill:enable='lt(mod(t\,1)\,0.1)'"
sound="aevalsrc='if(lt(mod(t\,1)\,0.1)\,0.5*sin(2*PI*1000*t)\,0)':s=48000"
vp9="-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 330k -maxrate 400k -bufsize 400k -lag-in-frames 0 -auto-alt-ref 0"
vp8="-c:v libvpx -deadline realtime -cpu-used 8 -b:v 450k -maxrate 600k -bufsize 600k -lag-in-frames 0 -auto-alt-ref 0"
keys="-g 60 -keyint_min 60"
opus="-c:a libopus -b:a 32k -ac 2 -frame_duration 20"
run="ffmpeg -v error -y"
last="-fflags +bitexact -map_metadata -1"

$run -f lavfi -i "$picture" -f lavfi -i "$sound" -t 5 $vp9 $keys $opus $last vp9-opus.webm
$run -f lavfi -i "$picture" -t 3 $vp9 $keys $last vp9.webm
$run -f lavfi -i "$sound" -t 3 $opus $last opus.webm
$run -f lavfi -i "$picture" -f lavfi -i "$sound" -t 3 $vp8 $keys $opus $last vp8-opus.webm
