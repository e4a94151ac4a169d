"use strict";
// Shows another training, another step, and two conditions in one picture with a wipe. Nothing here asks for anything outside.
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  addEventListener("beforeprint", () => all("details").forEach((part) => { part.open = true; }));

  // A cell of a matrix as a sentence.
  for (const block of all(".axisblock")) {
    const says = one(".says", block);
    if (!says) continue;
    says.hidden = false;
    const tell = (event) => {
      const cell = event.target.closest(".cell");
      if (cell) says.textContent = cell.dataset.says;
    };
    for (const name of ["focusin", "pointerover", "click"]) block.addEventListener(name, tell);
  }

  const holder = one("#data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  const seeds = data.seeds.length;
  const state = { replicate: 0, left: 0, right: 0, prompt: 0, seed: 0 };
  const source = (number) => (number in data.sources ? data.sources[number] : one(`#i${number}`)?.dataset.own);
  for (const image of all("img[id^=i]")) image.dataset.own = image.src;
  for (const image of all("img[data-same]")) image.src = source(image.dataset.same);

  // The grid: which training, and how far it had come.
  const controls = one(".controls");
  const step = one("#step");
  const films = () => data.films.map((film) => film[state.replicate]);
  const steps = () => [...new Set(films().flat().map(([number]) => number))].sort((a, b) => a - b);
  const drawn = (column, prompt, seed) => data.drawn[column][state.replicate][prompt * seeds + seed];
  const text = (column, prompt, seed) => `${data.titles[column]}: ${data.prompts[prompt]}, seed ${data.seeds[seed]}`;

  const roll = () => {
    if (!step) return;
    const known = steps();
    const ended = Number(step.value) >= known.length;
    const at = ended ? Infinity : known[Number(step.value)];
    for (const figure of all("[data-film]")) {
      const column = Number(figure.dataset.film);
      const frame = films()[column].filter(([number]) => number <= at).at(-1) ?? films()[column][0];
      figure.hidden = !frame;
      if (!frame) continue;
      const image = one("img", figure);
      image.src = source(frame[1]);
      image.alt = `${data.titles[column]} after ${frame[0]} training steps`;
      one("figcaption", figure).textContent = `step ${frame[0]}`;
    }
    const said = ended ? "at the end" : `step ${at}`;
    one("#step-said").textContent = said;
    step.setAttribute("aria-valuetext", said);
    one("table.grid").classList.toggle("early", !ended);
  };
  const lay = () => {
    for (const thumb of all(".thumb")) {
      const [column, prompt, seed] = thumb.dataset.at.split(".").map(Number);
      const number = drawn(column, prompt, seed);
      let image = one("img", thumb);
      if (number === null) {
        image?.remove();
        thumb.disabled = true;
        thumb.classList.add("gap");
        continue;
      }
      if (!image) {
        thumb.replaceChildren(image = new Image());
        thumb.disabled = false;
        thumb.classList.remove("gap");
      }
      image.src = source(number);
      image.alt = text(column, prompt, seed);
    }
    all(".photos img.real").forEach((image, place) => {
      image.classList.toggle("held", data.held[state.replicate].includes(place));
    });
    if (step) {
      const ended = Number(step.value) >= Number(step.max);
      step.max = steps().length;
      if (ended) step.value = step.max;
    }
    roll();
  };
  if (controls) {
    controls.hidden = !step && data.held.length < 2;
    for (const choice of all("[name=replicate]", controls)) {
      choice.addEventListener("change", () => { state.replicate = Number(choice.value); lay(); });
    }
    if (step) {
      step.max = steps().length;
      step.value = step.max;
      step.addEventListener("input", roll);
      roll();
    }
  }

  // Two conditions in one picture.
  const box = one("#box");
  const wipe = one("#wipe");
  const stage = one(".stage", box);
  const address = (hash) => { try { history.replaceState(null, "", hash); } catch { /* not allowed in a sandbox */ } };
  const slide = () => {
    stage.style.setProperty("--at", `${wipe.value}%`);
    const names = [data.titles[state.left], data.titles[state.right]];
    wipe.setAttribute("aria-valuetext", `${wipe.value} % ${names[0]}, ${100 - wipe.value} % ${names[1]}`);
  };
  const nearest = (column) => data.nearest[column][state.replicate][state.prompt * seeds + state.seed] ?? null;
  const large = (place) => (place.startsWith("/pictures/") ? place.replace(/\d+$/, "1280") : place);
  const put = (image, number, alt) => {
    image.hidden = number === null;
    if (number === null) return;
    image.src = large(source(number));
    image.alt = alt;
  };
  const show = () => {
    for (const side of ["left", "right"]) {
      const column = state[side];
      const number = drawn(column, state.prompt, state.seed);
      put(one(`#box-${side}`), number, text(column, state.prompt, state.seed));
      one(`#box-${side}-name`).textContent = data.titles[column] + (number === null ? `: ${data.missing[column]}` : "");
      one(`#pick-${side}`).value = column;
      put(one(`#near-${side}`), nearest(column), `the training picture nearest to that of ${data.titles[column]}`);
      one(`#near-${side}`).parentElement.hidden = nearest(column) === null;
    }
    one("#box-near").hidden = nearest(state.left) === null && nearest(state.right) === null;
    one("#box-prompt").textContent = data.prompts[state.prompt];
    const training = data.held.length > 1 ? `, training ${state.replicate + 1}` : "";
    one("#box-seed").textContent = `seed ${data.seeds[state.seed]}${training}`;
    address(`#open=${state.left}.${state.right}.${state.prompt}.${state.seed}`);
    slide();
  };
  const open = (left, right, prompt, seed) => {
    if (![left, right].every((column) => data.titles[column]) || !data.prompts[prompt] || !(seed >= 0 && seed < seeds)) return;
    Object.assign(state, { left, right, prompt, seed });
    wipe.value = 50;
    if (!box.open) box.showModal();
    wipe.focus();
    show();
  };
  const move = (by) => {
    const count = data.prompts.length * seeds;
    const next = (state.prompt * seeds + state.seed + by + count) % count;
    Object.assign(state, { prompt: Math.floor(next / seeds), seed: next % seeds });
    show();
  };
  document.addEventListener("click", (event) => {
    const thumb = event.target.closest(".thumb");
    if (!thumb) return;
    const [column, prompt, seed] = thumb.dataset.at.split(".").map(Number);
    const other = state.right !== column && box.returnValue ? state.right : Number(column === 0 && data.titles.length > 1);
    open(column, other, prompt, seed);
  });
  wipe.addEventListener("input", slide);
  for (const side of ["left", "right"]) {
    one(`#pick-${side}`).addEventListener("change", (event) => { state[side] = Number(event.target.value); show(); });
  }
  one("#box-up").addEventListener("click", () => move(-1));
  one("#box-down").addEventListener("click", () => move(1));
  one("#box-swap").addEventListener("click", () => { [state.left, state.right] = [state.right, state.left]; show(); });
  one("#box-close").addEventListener("click", () => box.close("seen"));
  box.addEventListener("click", (event) => { if (event.target === box) box.close("seen"); });
  box.addEventListener("close", () => { box.returnValue = "seen"; address("#grid"); });
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    const act = { ArrowUp: () => move(-1), ArrowDown: () => move(1) };
    if (event.target !== wipe) {
      act.ArrowLeft = () => { wipe.value = Number(wipe.value) - 2; slide(); };
      act.ArrowRight = () => { wipe.value = Number(wipe.value) + 2; slide(); };
    }
    const digit = /^[1-9]$/.test(event.key) ? Number(event.key) - 1 : -1;
    if (act[event.key]) act[event.key]();
    else if (digit >= 0 && digit < data.titles.length) { state.left = digit; show(); }
    else return;
    event.preventDefault();
  });
  const follow = () => { if (location.hash.startsWith("#open=")) open(...location.hash.slice(6).split(".").map(Number)); };
  addEventListener("hashchange", follow);
  follow();
})();
