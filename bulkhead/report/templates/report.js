"use strict";
window.onerror = (message) => { document.documentElement.dataset.error = message; };
(() => {
  const run = JSON.parse(document.getElementById("data").textContent);
  const whole = run.width * run.buckets;
  const timeline = document.querySelector(".timeline");
  const overlay = timeline.querySelector(".overlay");
  const cursor = timeline.querySelector(".cursor");
  const selection = timeline.querySelector(".selection");
  const moment = document.getElementById("moment");
  const zoomOut = document.getElementById("zoom-out");
  const readouts = [...timeline.querySelectorAll("[data-v]"), ...timeline.querySelectorAll("[data-state]")];
  const totals = readouts.map((each) => each.textContent);
  let view = [0, whole];  // the seconds that are shown
  let at = null;          // the second under the cursor
  let from = null;        // where a drag began

  const number = (value) => value.toLocaleString("en");
  const ms = (value) => value == null ? "–" : `${value < 1000 ? value.toFixed(1) : number(Math.round(value))} ms`;
  const during = (spans) => spans.filter(([, began, ended]) =>
    began < (bucket() + 1) * run.width && Math.max(ended, began + 0.001) > bucket() * run.width);
  const bucket = () => Math.min(Math.max(Math.floor(at / run.width + 1e-9), 0), run.buckets - 1);
  const percent = (second) => 100 * (second - view[0]) / (view[1] - view[0]);

  function value(name) {
    if (name in run.latency) return ms(run.latency[name][bucket()]);
    const count = run.counts[name][bucket()];
    return name === "offered" || name === "answered" ? `${number(Math.round(count / run.width))}/s` : number(count);
  }

  function laneNow(lane) {
    const states = during(lane.states).map(([name]) => name);
    const under = during(lane.under).map(([name]) => name);
    const seen = during(lane.marks).map(([name]) => `watchdog: ${name}`);
    const words = [...new Set([...states, ...under, ...seen]), `${number(lane.begun[bucket()])} begun`];
    if (lane.lost[bucket()]) words.push(`${number(lane.lost[bucket()])} attempts lost`);
    return words.join(", ");
  }

  function point(second) {
    at = second == null ? null : Math.min(Math.max(second, view[0]), view[1] - run.width / 2);
    cursor.hidden = at === null;
    timeline.classList.toggle("pointing", at !== null);
    if (at === null) {
      readouts.forEach((each, number) => { each.textContent = totals[number]; });
      moment.textContent = view[1] - view[0] < whole ? `${view[0].toFixed(1)} to ${view[1].toFixed(1)} s` : "whole run";
      return;
    }
    cursor.style.left = `${percent((bucket() + 0.5) * run.width)}%`;
    const faults = during(run.injections).map(([name]) => name);
    const phase = during(run.phases).map(([name]) => name).pop() ?? "";
    const shown = faults.length > 2 ? `${faults.length} faults` : faults.join(", ");
    moment.textContent = [`${(bucket() * run.width).toFixed(run.width < 1 ? 1 : 0)} s`, shown || phase].join(" ");
    for (const each of readouts) {
      const name = each.dataset.v;
      each.textContent = name ? value(name) : laneNow(run.lanes[each.closest(".lane").dataset.lane]);
    }
  }

  function zoom(began, ended) {
    const least = 5 * run.width;
    if (ended - began < least) [began, ended] = [(began + ended - least) / 2, (began + ended + least) / 2];
    view = [Math.max(began, 0), Math.min(ended, whole)];
    for (const svg of timeline.querySelectorAll("svg")) {
      svg.setAttribute("viewBox", `${view[0] / run.width} 0 ${(view[1] - view[0]) / run.width} ${svg.dataset.height}`);
    }
    for (const each of timeline.querySelectorAll("[data-b]")) {
      // Cut to the view, so that the words in a long span stay in sight.
      const [left, right] = [each.dataset.b, each.dataset.e].map((second) => percent(Number(second)));
      const [first, last] = [Math.max(left, -1), Math.min(right, 101)];
      each.hidden = last < -0.5 || first > 100.5;
      each.style.left = `${first}%`;
      each.style.width = `${Math.max(last - first, 0)}%`;
    }
    drawTicks();
    timeline.style.setProperty("--bucket", `${overlay.clientWidth * run.width / (view[1] - view[0])}px`);
    zoomOut.hidden = view[1] - view[0] >= whole;
    point(at);
  }

  function drawTicks() {
    const steps = [];
    for (let scale = 0.1; scale < whole; scale *= 10) steps.push(scale, 2 * scale, 5 * scale);
    const room = Math.max(overlay.clientWidth / 60, 2);
    const step = steps.find((each) => (view[1] - view[0]) / each <= room) ?? whole;
    const plot = timeline.querySelector(".axis .plot");
    plot.replaceChildren();
    for (let count = Math.ceil(view[0] / step - 1e-9); count * step <= view[1] + 1e-9; count += 1) {
      const tick = document.createElement("span");
      tick.textContent = String(Number((count * step).toFixed(3)));
      tick.style.left = `${percent(count * step)}%`;
      plot.append(tick);
    }
  }

  function second(event) {
    const box = overlay.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return view[0] + Math.min(Math.max(share, 0), 1) * (view[1] - view[0]);
  }

  timeline.addEventListener("pointerdown", (event) => {
    const box = overlay.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right;
    if (event.button === 0 && event.pointerType === "mouse" && inside) from = second(event);
  });
  window.addEventListener("pointerup", (event) => {
    if (from === null) return;
    const [began, ended] = [from, second(event)].sort((a, b) => a - b);
    from = null;
    selection.hidden = true;
    if (percent(ended) - percent(began) > 1) zoom(began, ended);
  });
  timeline.addEventListener("pointermove", (event) => {
    point(second(event));
    if (from === null) return;
    const [began, ended] = [from, second(event)].sort((a, b) => a - b);
    selection.hidden = false;
    selection.style.left = `${percent(began)}%`;
    selection.style.width = `${percent(ended) - percent(began)}%`;
  });
  timeline.addEventListener("pointerleave", () => point(null));
  timeline.addEventListener("dblclick", () => zoom(0, whole));
  zoomOut.addEventListener("click", () => zoom(0, whole));
  timeline.addEventListener("blur", () => point(null));
  timeline.addEventListener("keydown", (event) => {
    const middle = at ?? (view[0] + view[1]) / 2;
    const half = (view[1] - view[0]) / 2;
    const step = run.width * (event.shiftKey ? 10 : 1);
    const keys = {
      ArrowLeft: () => point((at ?? view[1]) - step),
      ArrowRight: () => point((at ?? view[0] - step) + step),
      Home: () => point(view[0]),
      End: () => point(view[1]),
      "+": () => zoom(middle - half / 2, middle + half / 2),
      "-": () => zoom(middle - 2 * half, middle + 2 * half),
      Escape: () => { zoom(0, whole); point(null); },
    };
    const action = keys[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  });

  // A link to a request opens it; a printed page shows them all.
  function reveal() {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) target.open = true;
  }
  window.addEventListener("hashchange", reveal);
  window.addEventListener("resize", () => zoom(...view));
  reveal();
  zoom(0, whole);
  document.documentElement.dataset.ready = "";
})();
