// Beats 30 times a second, also while nobody looks at the page, whose own timers a browser slows to one a second.
setInterval(() => self.postMessage("beat"), 1000 / 30);
