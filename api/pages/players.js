// Players that load nothing until they play: a page of many files asks for what somebody looks at. Posters are drawn one
// file at a time, as they come into view, and one file plays at a time.
import { element } from "./element.js";

const POSTER_WIDTH = 416;
const PATIENCE_MS = 10000;
const waiting = [];
let isDrawing = false;
let playing;

const near = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    waiting.push(target);
  }
  drawNext();
}, { rootMargin: "300px" });

// A player for a finished file. `onLength` hears how many seconds the file has, once it has been looked into.
export function player(kind, url, label, onLength) {
  const made = element(kind, { src: url, controls: true, preload: "none", playsInline: true, "aria-label": label });
  made.addEventListener("play", () => {
    if (playing && playing !== made) playing.src = playing.src; // back to its poster, with nothing loaded
    playing = made;
  });
  made.addEventListener("loadedmetadata", () => onLength(made.duration));
  made.addEventListener("length", ({ detail }) => onLength(detail));
  near.observe(made);
  return made;
}

async function drawNext() {
  if (isDrawing) return;
  isDrawing = true;
  for (let next = waiting.shift(); next; next = waiting.shift()) await look(next).catch(() => {}); // no poster, then
  isDrawing = false;
}

async function look(shown) {
  const isVideo = shown instanceof HTMLVideoElement;
  const reader = element(shown.localName, { preload: isVideo ? "auto" : "metadata", muted: true, src: shown.src });
  try {
    await new Promise((resolve, reject) => {
      reader.addEventListener(isVideo ? "loadeddata" : "loadedmetadata", resolve);
      reader.addEventListener("error", reject);
      setTimeout(reject, PATIENCE_MS);
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
