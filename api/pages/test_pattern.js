// A test pattern with a clock, and a beep with a flash at each full second; needs no camera and no permission.
// A worker is the timer, so that the frame rate is kept in a hidden tab.
const BEEP_S = 0.1;
const AHEAD_S = 3;
let audio;

export function testPattern(width, height, label) {
  audio ??= new AudioContext();
  audio.resume();
  const destination = new MediaStreamAudioDestinationNode(audio);
  const tone = new OscillatorNode(audio, { frequency: 880 });
  const gain = new GainNode(audio, { gain: 0 });
  tone.connect(gain).connect(destination);
  tone.start();
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  const start = audio.currentTime;
  let planned = Math.ceil(start);
  const worker = new Worker("/pages/pattern_worker.js");
  worker.addEventListener("message", () => {
    const now = audio.currentTime;
    for (planned = Math.max(planned, Math.ceil(now)); planned < now + AHEAD_S; planned += 1) {
      gain.gain.setValueAtTime(0.3, planned);
      gain.gain.setValueAtTime(0, planned + BEEP_S);
    }
    draw(context, canvas, now - start, now % 1 < BEEP_S, label);
  });
  const stream = new MediaStream([...canvas.captureStream(30).getTracks(), ...destination.stream.getTracks()]);
  return { stream, stop: () => { worker.terminate(); tone.stop(); gain.disconnect(); } };
}

function draw(context, canvas, seconds, inBeep, label) {
  const { width, height } = canvas;
  const hues = [45, 185, 130, 300, 5, 225];
  hues.forEach((hue, index) => {
    context.fillStyle = `hsl(${hue} 55% 42%)`;
    context.fillRect((index * width) / hues.length, 0, width / hues.length + 1, height);
  });
  context.fillStyle = inBeep ? "#fff" : "#161412";
  context.fillRect(width * 0.14, height * 0.2, width * 0.72, height * 0.6);
  context.fillStyle = inBeep ? "#161412" : "#fff";
  context.textAlign = "center";
  context.font = `600 ${height * 0.2}px monospace`;
  const tenths = Math.floor(seconds * 10);
  const two = (value) => String(value).padStart(2, "0");
  context.fillText(`${two(Math.floor(tenths / 600))}:${two(Math.floor(tenths / 10) % 60)}.${tenths % 10}`, width / 2, height * 0.52);
  context.font = `${height * 0.08}px sans-serif`;
  context.fillText(label, width / 2, height * 0.7, width * 0.66);
  context.fillStyle = "#d8432e";
  context.fillRect(0, height * 0.95, width * (seconds % 1), height * 0.05);
}
