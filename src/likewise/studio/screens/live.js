// A comparison while it goes on: every trial, how far the one at work has come, and what happened.
import { Button, Chip, Command, ask, at, data, follow, html, mount, plural, say, size, time, useEffect, useRef, useState } from "./studio.js";
import { Curve, summed } from "./run.js";

const fresh = () => ({ trials: [], ended: {}, now: null, runs: {}, notes: [], began: null });

const Live = ({ first }) => {
  const [status, setStatus] = useState(first.status);
  const [lost, setLost] = useState(false);
  const [, setBeat] = useState(0);
  const known = useRef(fresh());
  const add = (event) => {
    const it = known.current;
    it.began ??= event.time;
    if (event.event === "planned") {
      it.trials = event.trials;
      it.ended = Object.fromEntries(Object.entries(it.ended).filter(([name]) => !event.pending.includes(name)));
      for (const name of event.trials) if (!event.pending.includes(name)) it.ended[name] ??= { status: "done" };
    } else if (event.event === "trialstarted") { it.now = event; it.runs[event.trial] = summed(); }
    else if (event.event === "trialended") { it.ended[event.trial] = event.row; if (it.now?.trial === event.trial) it.now = null; }
    else if (event.event === "compared") { it.now = null; it.notes = event.notes; }
    else if (event.event === "failed" || event.event === "stopped") { it.now = null; it.notes = [event.message]; }
  };
  useEffect(() => {
    const stop = follow(`/comparisons/${at(first.name)}/events`, {
      lines: (events) => { events.forEach(add); setBeat((value) => value + 1); },
      state: (now) => setStatus(now), anew: () => { known.current = fresh(); }, lost: setLost,
    });
    return stop;
  }, []);
  const trial = known.current.now?.trial;
  useEffect(() => { // the steps of the trial at work stand in a journal of its own
    if (!trial || first.status === "done") return undefined;
    return follow(`/comparisons/${at(first.name)}/events`, {
      lines: (events) => { events.forEach((event) => known.current.runs[trial]?.add(event)); setBeat((value) => value + 1); },
    }, { trial });
  }, [trial]);
  const it = known.current;
  const run = it.now && it.runs[it.now.trial];
  const points = run ? [...run.steps.values()].sort((a, b) => a.step - b.step) : [];
  const last = points.at(-1);
  const done = Object.keys(it.ended).length;
  const share = it.trials.length ? (done + (last ? last.step / run.total() : 0) * 0.8) / it.trials.length : 0;
  const busy = ["running", "starting", "waiting"].includes(status);
  const post = (what) => async () => { say((await ask(`/api/comparisons/${at(first.name)}/${what}`, { yes: true })).said); };
  const words = (name) => {
    if (it.now?.trial === name) return last && last.step < run.total() ? `step ${last.step} of ${run.total()}, ${time((run.total() - last.step) * last.seconds)} left` : last ? "drawing" : "at work";
    const row = it.ended[name];
    if (!row) return "";
    return row.status === "done" ? [row.cost?.seconds && time(row.cost.seconds), row.cost?.bytes && size(row.cost.bytes)].filter(Boolean).join(", ") || "done" : `${row.status}: ${row.reason ?? ""}`;
  };
  return html`<div>
    <div class="head-line"><span><${Chip} status=${status} /> <span class="soft">${lost ? "The studio does not answer. The comparison goes on; this page waits for it." : status === "running" && it.trials.length ? `${done} of ${plural(it.trials.length, "trial")}` : { waiting: "It waits for its turn.", starting: "Loading the model." }[status] ?? ""}</span></span>
      <span class="actions">${status === "done" && html`<a class="button main" href="/comparisons/${at(first.name)}">Read the verdict</a>`}${busy && html`<${Button} onClick=${post("stop")}>Stop<//>`}${!busy && status !== "done" && html`<${Button} class="main" onClick=${post("resume")}>Go on<//>`}</span></div>
    ${busy && html`<div class="meter" style=${{ marginTop: "1rem" }} role="progressbar" aria-label="How far" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(100 * share)}><i style=${{ width: `${100 * share}%` }}></i></div>`}
    ${first.said && html`<pre class="command" style=${{ marginTop: "1rem" }}>${first.said}</pre>`}
    <div class="two" style=${{ marginTop: "1.4rem" }}><div><h2>Trials</h2><ol class="trials">${it.trials.map((name) => html`<li key=${name}><span aria-hidden="true">${it.ended[name] ? (it.ended[name].status === "done" ? "✓" : it.ended[name].status === "skipped" ? "–" : "✕") : it.now?.trial === name ? "▸" : "·"}</span><b>${name}</b><span class="soft">${words(name)}</span>
      ${it.now?.trial === name && last && html`<span class="meter"><i style=${{ width: `${(100 * last.step) / run.total()}%` }}></i></span>`}</li>`)}</ol>${!it.trials.length && html`<p class="empty">The trials are listed once the model is loaded.</p>`}</div>
      <div>${it.now && points.length > 1 && html`<h2>${it.now.title}</h2><${Curve} points=${points} total=${run.total()} width=${440} />`}${it.notes.map((text) => html`<p class="note">${text}</p>`)}
      ${done > 0 && status !== "done" && html`<p style=${{ marginTop: "1rem" }}><a href="/comparisons/${at(first.name)}">Look at what is there so far</a></p>`}</div></div>
    ${first.command && html`<section class="tight"><details><summary>Copy as command</summary><div style=${{ padding: ".4rem 0 1rem" }}><${Command} text=${first.command} /></div></details></section>`}
  </div>`;
};

mount(html`<${Live} first=${data()} />`, "#live");
