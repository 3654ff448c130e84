
// ---- the pages of a demonstration set ----

function follow(by) {
  const link = one(`a[rel=${by < 0 ? "prev" : "next"}]`);
  if (link) location.href = link.href;
}

const path = cell => {
  const found = [];
  for (let level = 0; level < data.levels; level++, cell = Math.floor(cell / data.bins)) found.unshift(cell % data.bins);
  return found;
};

if (one("#slider")) {
  const time = clock({ span: () => data, hz: data.hz, show, aside: follow });

  const cameras = every("figure[data-camera]").map(figure => {
    const camera = data.cameras[figure.dataset.camera], cut = cutter(figure, camera, () => show(time.place));
    return place => {
      let frame = 0;
      while (frame + 1 < camera.frames.length && camera.frames[frame + 1] <= place) frame++;
      cut(frame);
    };
  });

  // Plots: the cursor, and the values below it.
  const plots = every(".plot").map(plot => {
    const cursor = one(".cursor", plot), { action, observation } = plot.dataset, nows = every(".now", plot);
    if (action !== undefined) {
      const chosen = every(".chosen", plot), values = data.actions[action], cells = data.cells[action];
      return place => {
        // Nothing is done after the last observation.
        const there = place < values.length, bins = there ? path(cells[place]) : [];
        nows[0].textContent = there ? `${brief(values[place])}, bins ${bins.join(" \u203a ")}` : "the end";
        chosen.forEach((mark, level) => {
          mark.setAttribute("visibility", there ? "visible" : "hidden");
          if (there) mark.setAttribute("y", 1000 - 1000 * (bins[level] + 1) / data.bins);
        });
        move(cursor, data.at[place], data.steps);
      };
    }
    const lines = observation !== undefined ? data.observations[observation].values : [data.rewards];
    return place => {
      nows.forEach((now, line) => { now.textContent = place < lines[line].length ? brief(lines[line][place]) : "the end"; });
      move(cursor, data.at[place], data.steps);
    };
  });

  function show(place) { for (const part of [...cameras, ...plots]) part(place); }
  time.go(0);
} else {
  addEventListener("keydown", event => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && event.shiftKey && !event.ctrlKey && !event.metaKey && !event.altKey) { follow(by); event.preventDefault(); }
  });
}
