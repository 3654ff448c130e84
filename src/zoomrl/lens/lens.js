
// ---- the value lens ----
// Axes of an episode's arrays: step shown, level, step of the chunk, action dimension, bin.

const { levels, bins, chunk, dimensions } = data;
const sections = every("section[data-episode]"), told = one("#told"), chooser = one("#episode"), scaling = one("#span");
const ABOVE = -1, BELOW = -2, NOTHING = -3;
const PAD = 9, LABEL = 17, GAP = 14;
let current = 0, marked = null;

const bytes = text => {
  const letters = atob(text), found = new Uint8Array(letters.length);
  for (let at = 0; at < found.length; at++) found[at] = letters.charCodeAt(at);
  return found.buffer;
};

// Dark to light, and even to the eye in grey as well: viridis.
const STOPS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121], [110, 206, 88], [181, 222, 43], [253, 231, 37]];
const ramp = [...Array(256).keys()].map(index => {
  const at = index / 255 * (STOPS.length - 1), below = Math.min(STOPS.length - 2, Math.floor(at)), part = at - below;
  return STOPS[below].map((low, channel) => Math.round(low + part * (STOPS[below + 1][channel] - low)));
});

const exact = value => (value < 0 ? "\u2212" : "") + Math.abs(value).toPrecision(6).replace(/(\.\d*?)0+($|e)/, "$1$2").replace(/\.($|e)/, "$1");
const moving = dimensions.map((_, index) => index).filter(index => dimensions[index].movable);

// ---- the arrays of an episode, unpacked when it is first shown ----

function unpack(episode) {
  const values = new Uint16Array(bytes(episode.values));
  const chosen = new Int8Array(bytes(episode.chosen)), marks = new Int8Array(bytes(episode.marks));
  const choice = (place, level, step, dimension) => ((place * levels + level) * chunk + step) * dimensions.length + dimension;
  const value = (place, level, step, dimension, bin) =>
    episode.low[place][level] + values[choice(place, level, step, dimension) * bins + bin] / 65535 * episode.span[place][level];
  const whole = [...Array(levels).keys()].map(level => {
    const low = Math.min(...episode.low.map(row => row[level]));
    return [low, Math.max(...episode.low.map((row, place) => row[level] + episode.span[place][level])) - low];
  });
  return {
    value,
    chosen: (...where) => chosen[choice(...where)],
    mark: (...where) => marks[choice(...where)],
    siblings: (...where) => [...Array(bins).keys()].map(bin => value(...where, bin)),
    range(place, level, step, dimension) {
      if (scaling.value === "episode") return whole[level];
      if (scaling.value === "step") return [episode.low[place][level], episode.span[place][level]];
      const siblings = this.siblings(place, level, step, dimension), low = Math.min(...siblings);
      return [low, Math.max(...siblings) - low];
    },
  };
}

const unpacked = [];
const seen = () => unpacked[current] ||= unpack(data.episodes[current]);

// ---- one heat map: the levels of a dimension, side by side where there is room ----

function layout(width) {
  const across = levels * chunk <= 12, row = Math.max(5, Math.min(18, 160 / bins));
  const block = across ? (width - GAP * (levels - 1)) / levels : width, tall = LABEL + 2 * PAD + row * bins;
  return {
    row, column: block / chunk, height: across ? tall : levels * tall,
    left: level => across ? level * (block + GAP) : 0,
    top: level => (across ? 0 : level * tall) + LABEL + PAD,
  };
}

function paint(canvas, dimension, place) {
  const width = canvas.clientWidth, form = layout(width), scale = window.devicePixelRatio || 1, shown = seen();
  canvas.style.height = `${form.height}px`;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(form.height * scale);
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink"), quiet = style.getPropertyValue("--quiet");
  pen.scale(scale, scale);
  for (let level = 0; level < levels; level++) {
    const left = form.left(level), top = form.top(level);
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "left";
    pen.textBaseline = "alphabetic";
    pen.fillStyle = quiet;
    pen.fillText(`level ${level + 1}`, left, top - PAD - 4);
    for (let step = 0; step < chunk; step++) {
      const [low, span] = shown.range(place, level, step, dimension), x = left + step * form.column;
      const put = bin => top + (bins - 1 - bin) * form.row;
      for (let bin = 0; bin < bins; bin++) {
        const value = shown.value(place, level, step, dimension, bin);
        const colour = ramp[Math.round(255 * Math.min(1, Math.max(0, span > 0 ? (value - low) / span : .5)))];
        pen.fillStyle = `rgb(${colour})`;
        pen.fillRect(x, put(bin), form.column + .5, form.row + .5);
        if (form.column >= 52 && form.row >= 12) {
          pen.fillStyle = colour[1] > 140 ? "#000" : "#fff";
          pen.font = "11px system-ui, sans-serif";
          pen.textBaseline = "middle";
          pen.fillText(brief(value), x + 5, put(bin) + form.row / 2 + .5);
        }
      }
      outline(pen, x, put(shown.chosen(place, level, step, dimension)), form);
      stamp(pen, x + form.column, top, shown.mark(place, level, step, dimension), put, form, ink);
    }
  }
  if (marked && marked.dimension === dimension) {
    const x = form.left(marked.level) + marked.step * form.column, y = form.top(marked.level) + (bins - 1 - marked.bin) * form.row;
    for (const [colour, dashes] of [["#fff", []], ["#000", [3, 3]]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = 2;
      pen.setLineDash(dashes);
      pen.strokeRect(x, y, form.column, form.row);
    }
  }
}

// The chosen bin: a black frame with a white one inside, which can be told from any colour.
function outline(pen, x, y, form) {
  for (const [colour, inset] of [["#000", .75], ["#fff", 2.25]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5;
    pen.strokeRect(x + inset, y + inset, form.column - 2 * inset, form.row - 2 * inset);
  }
}

// Where the action lies that was taken: a dot in its bin, at the right so that a number stays readable, or a triangle.
function stamp(pen, right, top, mark, put, form, ink) {
  const size = Math.max(1.5, Math.min(3.5, form.column / 4, form.row / 3.5)), x = right - Math.min(form.column / 2, 9);
  pen.beginPath();
  if (mark >= 0) {
    pen.arc(x, put(mark) + form.row / 2, size, 0, 7);
    pen.fillStyle = "#fff";
    pen.strokeStyle = "#000";
    pen.lineWidth = 1.5;
    pen.stroke();
    pen.fill();
  } else if (mark !== NOTHING) {
    const tip = mark === ABOVE ? top - PAD + 1 : top + bins * form.row + PAD - 1, base = tip + (mark === ABOVE ? 6 : -6);
    const half = Math.min(4, form.column / 2.5);
    pen.moveTo(x, tip);
    pen.lineTo(x + half, base);
    pen.lineTo(x - half, base);
    pen.fillStyle = ink;
    pen.fill();
  }
}

function cellAt(canvas, event) {
  const box = canvas.getBoundingClientRect(), form = layout(box.width);
  for (let level = 0; level < levels; level++) {
    const step = Math.floor((event.clientX - box.left - form.left(level)) / form.column);
    const bin = bins - 1 - Math.floor((event.clientY - box.top - form.top(level)) / form.row);
    if (step >= 0 && step < chunk && bin >= 0 && bin < bins) return { level, step, bin };
  }
  return null;
}

// ---- what is told of a bin, and of a step ----

function tell(place, aloud) {
  told.setAttribute("aria-live", aloud ? "polite" : "off");
  if (!marked) return;
  const { dimension, level, step, bin } = marked, about = dimensions[dimension], shown = seen();
  const value = shown.value(place, level, step, dimension, bin), best = Math.max(...shown.siblings(place, level, step, dimension));
  let cell = 0;
  for (let above = 0; above < level; above++) cell = cell * bins + shown.chosen(place, above, step, dimension);
  const width = (about.high - about.low) / bins ** (level + 1), low = about.low + (cell * bins + bin) * width;
  const words = [
    `${about.name}${chunk > 1 ? `, step ${step} of the chunk` : ""}, level ${level + 1}, bin ${bin} (${brief(low)} to ${brief(low + width)}): value ${exact(value)}`,
    value < best ? `${brief(best - value)} below the best` : "the best",
  ];
  if (shown.chosen(place, level, step, dimension) === bin) words.push("chosen");
  if (shown.mark(place, level, step, dimension) === bin) words.push(data.episodes[current].taken);
  told.textContent = words.join(", ");
}

function read(place) {
  const episode = data.episodes[current], [value, realised] = episode.plots[0], shown = seen();
  const hits = [...Array(levels).keys()].map(level => {
    let hit = 0, of = 0;
    for (let step = 0; step < chunk; step++) for (const dimension of moving) {
      const mark = shown.mark(place, level, step, dimension);
      if (mark === NOTHING) continue;
      of++;
      if (mark === shown.chosen(place, level, step, dimension)) hit++;
    }
    return `${hit} of ${of}`;
  });
  const new_ = episode.taken === "executed" && !episode.fresh[place] ? " No new chunk was taken here: these are the values that it would have had." : "";
  return `Step ${episode.at[place]}: value ${brief(value[place])}, realised return ${brief(realised[place])}. `
    + `${data.hold} the ${episode.taken} action, by level: ${hits.join(", ")}.${new_}`;
}

// ---- the parts that are shown ----

const views = sections.map((section, number) => {
  const episode = data.episodes[number];
  const cuts = every("figure[data-camera]", section).map(figure =>
    cutter(figure, episode.cameras[figure.dataset.camera], () => { if (number === current) show(time.place); }));
  const plots = every(".plot", section).map(plot => {
    const cursor = one(".cursor", plot), nows = every(".now", plot), rows = episode.plots[plot.dataset.plot];
    return place => {
      nows.forEach((now, line) => { now.textContent = brief(rows[line][place]); });
      move(cursor, episode.at[place], episode.steps);
    };
  });
  const maps = every(".map[data-dimension]", section).map(map => {
    const dimension = Number(map.dataset.dimension), canvas = one("canvas", map), now = one(".now", map);
    listen(canvas, dimension);
    return place => {
      paint(canvas, dimension, place);
      const shown = seen(), all = [...Array(levels).keys()];
      now.textContent = `bins ${all.map(level => shown.chosen(place, level, 0, dimension)).join(" \u203a ")}`;
    };
  });
  const reading = one(".reading", section);
  return place => {
    for (const cut of cuts) cut(place);
    for (const part of [...plots, ...maps]) part(place);
    reading.textContent = read(place);
  };
});

function listen(canvas, dimension) {
  const mark = cell => {
    marked = cell && { dimension, ...cell };
    show(time.place, true);
  };
  const point = event => {
    const cell = cellAt(canvas, event);
    if (cell) mark(cell);
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("focus", () => {
    if (!marked || marked.dimension !== dimension) mark({ level: 0, step: 0, bin: seen().chosen(time.place, 0, 0, dimension) });
  });
  canvas.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!by || !marked || marked.dimension !== dimension) return;
    event.preventDefault();
    const across = layout(canvas.clientWidth).left(1) > 0;
    let { level, step, bin } = marked;
    step += by[0];
    bin += by[1];
    // At an edge the level that lies there comes next.
    if (across && step < 0 && level > 0) { level--; step = chunk - 1; }
    else if (across && step >= chunk && level + 1 < levels) { level++; step = 0; }
    else if (!across && bin < 0 && level + 1 < levels) { level++; bin = bins - 1; }
    else if (!across && bin >= bins && level > 0) { level--; bin = 0; }
    mark({ level, step: Math.min(chunk - 1, Math.max(0, step)), bin: Math.min(bins - 1, Math.max(0, bin)) });
  });
}

const scales = every(".scale");

function legend(place) {
  for (const scale of scales) {
    const level = Number(scale.dataset.level), each = scaling.value === "choice";
    const [low, span] = each ? [0, 0] : seen().range(place, level);
    one(".least", scale).textContent = each ? "worst" : brief(low);
    one(".most", scale).textContent = each ? "best of its choice" : brief(low + span);
  }
}

function show(place, aloud = false) {
  views[current](place);
  legend(place);
  tell(place, aloud);
}

function choose(number) {
  current = Math.min(sections.length - 1, Math.max(0, number));
  chooser.value = current;
  sections.forEach((section, index) => { section.hidden = index !== current; });
  one(".slot", sections[current]).append(one(".legend"));
  time.jump(0);
}

const time = clock({ span: () => data.episodes[current], hz: data.hz, least: 60, show, aside: by => choose(current + by) });
chooser.addEventListener("change", () => choose(Number(chooser.value)));
scaling.addEventListener("change", () => show(time.place));
addEventListener("keydown", event => {
  const by = { ",": -1, ".": 1 }[event.key];
  if (by && !event.ctrlKey && !event.metaKey && !event.altKey) time.jump(time.place + by);
});
addEventListener("resize", () => show(time.place));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(time.place));
choose(0);
