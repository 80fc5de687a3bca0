// Posts a message 30 times a second. Browsers slow the timers of a hidden page to one a second, but not those of workers.
setInterval(() => self.postMessage("tick"), 1000 / 30);
