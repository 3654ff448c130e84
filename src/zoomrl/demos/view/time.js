"use strict";
// What pages over time have in common: numbers, images cut out of their sheets, the cursor, the slider and the keys.
document.documentElement.classList.add("js");
const data = JSON.parse(document.getElementById("data").textContent);
const every = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);

const brief = value => {
  const text = Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3) ? value.toExponential(2) : value.toPrecision(4);
  return (value < 0 ? text.replace("-", "\u2212") : text).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
};

// Shows the image of a frame of `camera` in the canvas of `figure`; `loaded` is called once a sheet is there.
function cutter(figure, camera, loaded) {
  const canvas = one("canvas", figure), sheets = every("img", figure), each = camera.columns * camera.rows;
  canvas.width = camera.width;
  canvas.height = camera.height;
  for (const sheet of sheets) sheet.addEventListener("load", loaded);
  return frame => {
    const sheet = sheets[Math.floor(frame / each)], within = frame % each;
    if (!sheet.complete || !sheet.naturalWidth) return;
    const left = within % camera.columns * camera.pitch[0], top = Math.floor(within / camera.columns) * camera.pitch[1];
    canvas.getContext("2d").drawImage(sheet, left, top, camera.width, camera.height, 0, 0, camera.width, camera.height);
  };
}

function move(cursor, step, steps) { cursor.style.left = `${100 * step / steps}%`; }

// Places in time, of which `span()` has `at`, the steps that they stand for, and `steps`, the right edge.
// `show(place)` shows one, `aside(-1 or 1)` goes to what lies before or after; `hz` is the rate of the steps, and `least`
// the milliseconds that a place is shown for at least while they play.
function clock({ span, hz, show, aside, least = 0 }) {
  const slider = one("#slider"), button = one("#play"), where = one("#where");
  let place = 0, timer = 0;
  const last = () => span().at.length - 1;

  function go(to) {
    const { at, steps } = span();
    place = Math.min(last(), Math.max(0, to));
    slider.max = last();
    slider.value = place;
    const seconds = hz ? `, ${(at[place] / hz).toFixed(2)} s` : "";
    where.textContent = `${at[place]} / ${steps}${seconds}`;
    show(place);
  }

  function play(on) {
    clearInterval(timer);
    timer = 0;
    if (on && last() > 0) {
      if (place === last()) go(0);
      const { at } = span(), pause = Math.max(least, 1000 * (at[1] - at[0]) / (hz || 20));
      // Screens show no more than this; faster ones skip.
      const skip = Math.max(1, Math.ceil(16 / pause));
      timer = setInterval(() => { go(place + skip); if (place === last()) play(false); }, pause * skip);
    }
    button.textContent = timer ? "Pause" : "Play";
  }

  const jump = to => { play(false); go(to); };
  slider.addEventListener("input", () => jump(Number(slider.value)));
  button.addEventListener("click", () => play(!timer));
  for (const area of every(".area")) {
    const point = event => {
      if (event.type === "pointermove" && !event.buttons) return;
      const { at, steps } = span(), box = area.getBoundingClientRect();
      const step = (event.clientX - box.left) / box.width * steps;
      let near = 0;
      while (near < last() && at[near + 1] <= step) near++;
      jump(near);
    };
    area.addEventListener("pointerdown", point);
    area.addEventListener("pointermove", point);
  }
  addEventListener("keydown", event => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && event.shiftKey) aside(by);
    else if (by) jump(place + by);
    else if (event.key === "Home" || event.key === "End") jump(event.key === "Home" ? 0 : last());
    else if (event.key === " " && event.target !== button) play(!timer);
    else return;
    event.preventDefault();
  });
  return { go, jump, get place() { return place; } };
}
