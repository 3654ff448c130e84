"use strict";
document.documentElement.classList.add("js");
const data = JSON.parse(document.getElementById("data").textContent);
const every = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);
const last = (data.at || []).length - 1;
let place = 0, timer = 0;

const brief = value => {
  const text = Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toExponential(2) : value.toPrecision(4);
  return (value < 0 ? text.replace("-", "\u2212") : text).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
};

// ---- images: the one of a step is cut out of its sheet ----

const cameras = every("figure[data-camera]").map(figure => {
  const camera = data.cameras[figure.dataset.camera], canvas = one("canvas", figure), sheets = every("img", figure);
  canvas.width = camera.width;
  canvas.height = camera.height;
  for (const sheet of sheets) sheet.addEventListener("load", () => show());
  return () => {
    let frame = 0;
    while (frame + 1 < camera.frames.length && camera.frames[frame + 1] <= place) frame++;
    const each = camera.columns * camera.rows, sheet = sheets[Math.floor(frame / each)], within = frame % each;
    if (!sheet.complete || !sheet.naturalWidth) return;
    const left = within % camera.columns * camera.pitch[0], top = Math.floor(within / camera.columns) * camera.pitch[1];
    canvas.getContext("2d").drawImage(sheet, left, top, camera.width, camera.height, 0, 0, camera.width, camera.height);
  };
});

// ---- plots: the cursor, and the values below it ----

const path = cell => {
  const found = [];
  for (let level = 0; level < data.levels; level++, cell = Math.floor(cell / data.bins)) found.unshift(cell % data.bins);
  return found;
};

const plots = every(".plot").map(plot => {
  const cursor = one(".cursor", plot), { action, observation } = plot.dataset, nows = every(".now", plot);
  if (action !== undefined) {
    const chosen = every(".chosen", plot), values = data.actions[action], cells = data.cells[action];
    return () => {
      // Nothing is done after the last observation.
      const there = place < values.length, bins = there ? path(cells[place]) : [];
      nows[0].textContent = there ? `${brief(values[place])}, bins ${bins.join(" \u203a ")}` : "the end";
      chosen.forEach((mark, level) => {
        mark.setAttribute("visibility", there ? "visible" : "hidden");
        if (there) mark.setAttribute("y", 1000 - 1000 * (bins[level] + 1) / data.bins);
      });
      move(cursor);
    };
  }
  const lines = observation !== undefined ? data.observations[observation].values : [data.rewards];
  return () => {
    nows.forEach((now, line) => { now.textContent = place < lines[line].length ? brief(lines[line][place]) : "the end"; });
    move(cursor);
  };
});

function move(cursor) { cursor.style.left = `${100 * data.at[place] / data.steps}%`; }

// ---- time ----

const slider = one("#slider"), button = one("#play"), where = one("#where");

function show() {
  for (const part of [...cameras, ...plots]) part();
  slider.value = place;
  const seconds = data.hz ? `, ${(data.at[place] / data.hz).toFixed(2)} s` : "";
  where.textContent = `${data.at[place]} / ${data.steps}${seconds}`;
}

function go(to) {
  place = Math.min(last, Math.max(0, to));
  show();
}

function play(on) {
  clearInterval(timer);
  timer = 0;
  if (on) {
    if (place === last) go(0);
    const stride = data.at[1] - data.at[0], pause = 1000 * stride / (data.hz || 20);
    // Screens show no more than this; faster ones skip.
    const skip = Math.max(1, Math.ceil(16 / pause));
    timer = setInterval(() => { go(place + skip); if (place === last) play(false); }, pause * skip);
  }
  button.textContent = timer ? "Pause" : "Play";
}

function follow(relation) {
  const link = one(`a[rel=${relation}]`);
  if (link) location.href = link.href;
}

if (slider) {
  slider.addEventListener("input", () => { play(false); go(Number(slider.value)); });
  button.addEventListener("click", () => play(!timer));
  for (const area of every(".area")) {
    const point = event => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = area.getBoundingClientRect(), step = (event.clientX - box.left) / box.width * data.steps;
      let near = 0;
      while (near < last && data.at[near + 1] <= step) near++;
      play(false);
      go(near);
    };
    area.addEventListener("pointerdown", point);
    area.addEventListener("pointermove", point);
  }
}

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const aside = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (aside && event.shiftKey) follow(aside < 0 ? "prev" : "next");
  else if (!slider) return;
  else if (aside) { play(false); go(place + aside); }
  else if (event.key === "Home" || event.key === "End") { play(false); go(event.key === "Home" ? 0 : last); }
  else if (event.key === " " && event.target !== button) play(!timer);
  else return;
  event.preventDefault();
});

if (slider) { slider.max = last; show(); }
