import { language } from "./strings.js";

const number = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const ofDay = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const today = new Intl.DateTimeFormat(language, ofDay);
const earlier = new Intl.DateTimeFormat(language, { year: "numeric", month: "short", day: "numeric", ...ofDay });

// The time of day, with the date unless it is today.
export const moment = (ms) => (new Date(ms).toDateString() === new Date().toDateString() ? today : earlier).format(ms);
export const percent = (part, all) => number.format(all ? (100 * part) / all : 0);
export const bitRate = (bps) => (bps < 1e6 ? `${number.format(bps / 1e3)} kbit/s` : `${number.format(bps / 1e6)} Mbit/s`);

export function bytes(count) {
  if (count < 1e6) return `${number.format(count / 1e3)} kB`;
  return count < 1e9 ? `${number.format(count / 1e6)} MB` : `${number.format(count / 1e9)} GB`;
}

export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  return `${hours ? `${hours}:` : ""}${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}
