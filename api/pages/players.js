// Players that load nothing before they play, so that a page with many files makes few requests. Posters are drawn one
// at a time, when their player is close to the visible area; one file plays at a time.
import { element } from "./element.js";

const POSTER_WIDTH = 416;
const LOAD_TIMEOUT_MS = 10000;
const queue = [];
let isDrawing = false;
let playing;

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    queue.push(target);
  }
  drawPosters();
}, { rootMargin: "300px" });

// Returns a player for a finished file. `onLength` receives the length in seconds once it is known.
export function player(kind, url, label, onLength) {
  const media = element(kind, { src: url, controls: true, preload: "none", playsInline: true, "aria-label": label });
  media.addEventListener("play", () => {
    if (playing && playing !== media) playing.src = playing.src; // shows its poster again, and frees what was loaded
    playing = media;
  });
  media.addEventListener("loadedmetadata", () => onLength(media.duration));
  media.addEventListener("length", ({ detail }) => onLength(detail));
  observer.observe(media);
  return media;
}

async function drawPosters() {
  if (isDrawing) return;
  isDrawing = true;
  for (let next = queue.shift(); next; next = queue.shift()) await drawPoster(next).catch(() => {}); // it stays without a poster
  isDrawing = false;
}

async function drawPoster(shown) {
  const isVideo = shown instanceof HTMLVideoElement;
  const reader = element(shown.localName, { preload: isVideo ? "auto" : "metadata", muted: true, src: shown.src });
  try {
    await new Promise((resolve, reject) => {
      reader.addEventListener(isVideo ? "loadeddata" : "loadedmetadata", resolve);
      reader.addEventListener("error", reject);
      setTimeout(reject, LOAD_TIMEOUT_MS);
    });
    shown.dispatchEvent(new CustomEvent("length", { detail: reader.duration }));
    if (isVideo) shown.poster = picture(reader);
  } finally {
    reader.removeAttribute("src");
    reader.load();
  }
}

function picture(video) {
  const canvas = element("canvas", { width: POSTER_WIDTH, height: Math.round((POSTER_WIDTH * video.videoHeight) / video.videoWidth) });
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.8);
}
