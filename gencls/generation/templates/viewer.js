"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const [replay, back, play, forward, slider, speed, framesButton, stage, overview, live] =
    ["replay", "back", "play", "forward", "slider", "speed", "frames", "stage", "overview", "live"]
      .map((id) => document.getElementById(id));
  const last = data.frames.length - 1;
  let frame = 0;
  let timer = null;

  // Text goes into the page through textContent and attributes only.
  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // Cells in words: a word stays in one line where it can, and a text without spaces breaks anywhere.
  function tokensInto(parent, panel, makeCell) {
    let word = null;
    panel.widest.forEach((_, token) => {
      if (word === null || panel.starts_word[token]) word = parent.appendChild(element("span", "word"));
      word.append(makeCell(token));
      if (panel.ends_line[token]) {
        parent.append(element("br"));
        word = null;
      }
    });
  }

  function paint(node, cell) {
    const [text, state, confidence] = cell;
    node.classList.remove("given", "hidden", "remasked", "new", "shown");
    node.classList.add("cell", state);
    node.style.setProperty("--p", confidence ?? 0);
    node.querySelector(".piece").textContent = text ?? "";
  }

  function cellNode(tag, panel, token) {
    const node = element(tag, "cell");
    const ghost = element("span", "ghost", panel.widest[token]);
    ghost.setAttribute("aria-hidden", "true");
    node.append(ghost, element("span", "piece"));
    return node;
  }

  function describe(panel, token, step) {
    const [text, state, confidence, since] = panel.steps[step].cells[token];
    const name = state === "shown" ? `revealed in step ${since}` : panel.state_names[state];
    const what = text === null ? name : `“${text}”, ${name}`;
    const sure = confidence === null ? "" : `, probability ${confidence.toFixed(3)}`;
    return `Token ${token + 1}: ${what}${sure}`;
  }

  // All that ever happened to a token, for the line under the text.
  function history(panel, token) {
    const events = [];
    panel.steps.forEach((step, number) => {
      const [text, state, confidence] = step.cells[token];
      if (state === "new") events.push(`step ${number} “${text}” (${confidence === null ? "?" : confidence.toFixed(3)})`);
      if (state === "remasked") events.push(`step ${number} hidden again`);
    });
    return events.length > 1 ? ` All of it: ${events.join(", ")}.` : "";
  }

  function makePanel(panel, number) {
    const section = element("section", "panel");
    const title = element("h2", "", panel.label);
    title.id = `title-${number}`;
    section.setAttribute("aria-labelledby", title.id);
    const bar = element("div", "bar");
    bar.setAttribute("role", "progressbar");
    bar.setAttribute("aria-label", "Tokens revealed");
    bar.append(element("div"));
    const tokens = element("div", "tokens");
    tokens.setAttribute("role", "group");
    tokens.setAttribute("aria-label", `Tokens of ${panel.label}`);
    const view = { panel, bar, cells: [], selected: null, step: 0 };
    tokensInto(tokens, panel, (token) => {
      const cell = cellNode("button", panel, token);
      cell.type = "button";
      cell.tabIndex = token === 0 ? 0 : -1; // one stop of the tab key for the whole text
      cell.addEventListener("focus", () => select(view, token));
      cell.addEventListener("click", () => select(view, token));
      view.cells.push(cell);
      return cell;
    });
    view.status = element("p", "status");
    view.inspect = element("p", "inspect", "Choose a token to see its probability and when it came.");
    section.append(title, bar, tokens, view.status, view.inspect, facts(panel), result(panel));
    stage.append(section);
    return view;
  }

  function facts(panel) {
    const list = element("dl", "facts");
    panel.facts.forEach(([name, value]) => list.append(element("dt", "", name), element("dd", "", value)));
    return list;
  }

  function result(panel) {
    const details = element("details");
    details.append(element("summary", "", "The result as text"), element("p", "", panel.text));
    return details;
  }

  function select(view, token) {
    view.selected = token;
    view.cells.forEach((cell, i) => {
      cell.tabIndex = i === token ? 0 : -1;
      cell.setAttribute("aria-pressed", String(i === token));
    });
    view.inspect.textContent = `${describe(view.panel, token, view.step)}.${history(view.panel, token)}`;
  }

  function showPanel(view, step) {
    const { cells, status, progress } = view.panel.steps[step];
    view.step = step;
    cells.forEach((cell, token) => {
      paint(view.cells[token], cell);
      view.cells[token].setAttribute("aria-label", describe(view.panel, token, step));
    });
    view.status.textContent = status;
    view.bar.firstChild.style.width = `${100 * progress}%`;
    view.bar.setAttribute("aria-valuenow", String(Math.round(100 * progress)));
    if (view.selected !== null) select(view, view.selected);
  }

  function spoken() {
    return views.map(({ panel, step }) => {
      const fresh = panel.steps[step].cells.filter((cell) => cell[1] === "new").map((cell) => cell[0]);
      const news = fresh.length ? ` New: ${fresh.join(", ")}.` : "";
      return `${views.length > 1 ? `${panel.label}: ` : ""}${panel.steps[step].status}.${news}`;
    }).join(" ");
  }

  function show(next) {
    frame = Math.min(Math.max(next, 0), last);
    views.forEach((view, number) => showPanel(view, data.frames[frame][number]));
    slider.value = String(frame);
    slider.setAttribute("aria-valuetext", views.map((view) => view.panel.steps[view.step].status).join("; "));
    back.disabled = frame === 0;
    forward.disabled = frame === last;
    document.documentElement.dataset.frame = String(frame);
    if (timer === null) live.textContent = spoken(); // while it plays, a reader would never come to an end
    markRow();
  }

  function pause() {
    clearTimeout(timer);
    timer = null;
    play.textContent = "▶ Play";
    live.textContent = spoken();
  }

  function tick() {
    timer = setTimeout(() => {
      show(frame + 1);
      if (frame === last) pause();
      else tick();
    }, data.ms_per_frame / Number(speed.value));
  }

  function start() {
    if (last === 0) return;
    clearTimeout(timer);
    timer = null;
    if (frame === last) show(0);
    play.textContent = "❚❚ Pause";
    tick();
  }

  const toggle = () => (timer === null ? start() : pause());
  const jump = (next) => { pause(); show(next); };
  const again = () => { jump(0); start(); };

  function makeRow(steps, number) {
    const row = element("div", "row");
    const button = row.appendChild(element("button", "jump", `Frame ${number}`));
    button.type = "button";
    button.addEventListener("click", () => jump(number));
    steps.forEach((step, index) => {
      const { panel } = views[index];
      const column = row.appendChild(element("div"));
      const tokens = column.appendChild(element("div", "tokens"));
      tokensInto(tokens, panel, (token) => {
        const cell = cellNode("span", panel, token);
        paint(cell, panel.steps[step].cells[token]);
        return cell;
      });
      column.append(element("div", "status", panel.steps[step].status));
    });
    return row;
  }

  function markRow() {
    [...overview.children].forEach((row, number) => {
      if (number === frame) row.setAttribute("aria-current", "step");
      else row.removeAttribute("aria-current");
    });
    if (!overview.hidden) overview.children[frame].scrollIntoView({ block: "nearest" });
  }

  function toggleFrames() {
    if (!overview.children.length) overview.append(...data.frames.map(makeRow));
    overview.hidden = !overview.hidden;
    stage.hidden = !overview.hidden;
    stage.style.display = stage.hidden ? "none" : "";
    framesButton.setAttribute("aria-pressed", String(!overview.hidden));
    markRow();
  }

  function neighbour(cell, distance) {
    const view = views.find(({ cells }) => cells.includes(cell));
    const next = view.cells[view.cells.indexOf(cell) + distance];
    if (next) next.focus();
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const onControl = event.target.matches("input, select");
    const cell = event.target.closest("button.cell");
    const onButton = event.target.matches("button") && !cell;
    const actions = {
      " ": onControl || onButton ? null : toggle, // a button's own space bar presses it
      ArrowRight: onControl ? null : () => jump(frame + 1),
      ArrowLeft: onControl ? null : () => jump(frame - 1),
      Home: onControl ? null : () => jump(0),
      End: onControl ? null : () => jump(last),
      ArrowDown: cell ? () => neighbour(cell, 1) : null,
      ArrowUp: cell ? () => neighbour(cell, -1) : null,
      r: again,
      f: toggleFrames,
    };
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  const views = data.panels.map(makePanel);
  replay.addEventListener("click", again);
  back.addEventListener("click", () => jump(frame - 1));
  forward.addEventListener("click", () => jump(frame + 1));
  play.addEventListener("click", toggle);
  slider.addEventListener("input", () => jump(Number(slider.value)));
  framesButton.addEventListener("click", toggleFrames);
  document.addEventListener("keydown", onKey);
  show(0);
})();
