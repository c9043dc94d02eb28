// Read-outs: what a plot's lines are worth under the pointer, or under the arrow keys. Plots of the same
// group share their cursor. Everything shown was written by the report itself, beside each plot.
"use strict";
(() => {
  const plots = [...document.querySelectorAll(".plot")].map((figure) => {
    const area = figure.querySelector(".area");
    return {
      figure, area,
      data: JSON.parse(figure.querySelector("script").textContent),
      cursor: area.querySelector(".cursor"),
      tip: area.querySelector(".tip"),
      at: -1,
    };
  });
  const nearest = (places, x) => {
    let low = 0, high = places.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (places[middle] < x) low = middle; else high = middle;
    }
    return x - places[low] <= places[high] - x ? low : high;
  };
  const row = (name, value, className) => {
    const line = document.createElement("span"), label = document.createElement("em"), text = document.createElement("strong");
    line.className = className.split(" ")[0];
    label.textContent = name;
    text.textContent = value;
    line.append(label, text);
    return line;
  };
  const read = (plot, at) => {
    const { data, tip, area } = plot, heading = document.createElement("b");
    heading.textContent = data.l[at];
    tip.replaceChildren(heading, ...data.s.filter((s) => s.v[at] !== null).map((s) => row(s.n, s.v[at], s.c)));
    tip.hidden = false;
    // Beside the cursor, on the side where there is room.
    const x = data.p[at] * area.clientWidth, width = tip.offsetWidth;
    const left = x + 12 + width <= area.clientWidth ? x + 12 : x - 12 - width;
    tip.style.left = Math.max(-50, Math.min(left, area.clientWidth - width)) + "px";
  };
  const show = (plot, at) => {
    plot.at = at;
    for (const other of plots) {
      const shared = other === plot || other.figure.dataset.group === plot.figure.dataset.group;
      other.cursor.hidden = !shared;
      if (shared) other.cursor.style.left = plot.data.p[at] * 100 + "%";
      if (other !== plot) other.tip.hidden = true;
    }
    read(plot, at);
  };
  const hide = () => {
    for (const plot of plots) plot.cursor.hidden = plot.tip.hidden = true;
  };
  for (const plot of plots) {
    if (!plot.data.p.length) continue;
    const follow = (event) => {
      const box = plot.area.getBoundingClientRect();
      show(plot, nearest(plot.data.p, (event.clientX - box.left) / box.width));
    };
    plot.area.addEventListener("pointermove", follow);
    plot.area.addEventListener("pointerdown", follow);
    plot.area.addEventListener("pointerleave", hide);
    plot.figure.addEventListener("blur", hide);
    plot.figure.addEventListener("keydown", (event) => {
      const last = plot.data.p.length - 1;
      const to = { ArrowLeft: plot.at - 1, ArrowRight: plot.at + 1, Home: 0, End: last }[event.key];
      if (event.key === "Escape") hide();
      if (to === undefined) return;
      event.preventDefault();
      show(plot, Math.max(0, Math.min(last, to)));
    });
  }
})();
