// The queue: what is done, what waits, in which order.
import { Button, ask, data, html, mount, useEffect, useState } from "./studio.js";

const Queue = ({ first }) => {
  const [queue, setQueue] = useState(first);
  useEffect(() => {
    const look = async () => { if (!document.hidden) try { setQueue(await ask("/api/queue")); } catch { /* it comes back */ } };
    const timer = setInterval(look, 2000);
    return () => clearInterval(timer);
  }, []);
  const change = (path, body) => async () => setQueue(await ask(`/api/queue/${path}`, body));
  const { current, items, others, paused } = queue;
  return html`<div>
    <div class="actions" style=${{ marginTop: "1.2rem" }}><${Button} onClick=${change("pause", { paused: !paused })}>${paused ? "Go on" : "Pause after this one"}<//>${paused && html`<span class="soft">Paused: nothing new is begun.</span>`}</div>
    <section class="tight" aria-labelledby="now-h"><h2 id="now-h">Now</h2><div class="rows">
      ${current ? html`<a class="row" href=${current.to}><span></span><b>${current.title}</b><span class="soft">${current.words || "starting"}</span>${current.done != null && html`<span class="meter"><i style=${{ width: `${100 * current.done}%` }}></i></span>`}</a>` : html`<p class="empty">Nothing is at work${items.length && !paused ? "; the next one begins in a moment" : ""}.</p>`}
      ${others.map((it) => html`<a class="row" href=${it.to}><span></span><b>${it.title}</b><span class="soft">${it.words || "started elsewhere"}</span></a>`)}</div></section>
    <section class="tight" aria-labelledby="wait-h"><h2 id="wait-h">Waiting</h2>
      ${items.length ? html`<ol class="rows">${items.map((it, place) => html`<li class="row" key=${it.place}><span class="soft">${place + 1}</span><a href=${it.to}><b>${it.title}</b></a><span class="actions">
        <${Button} class="quiet" aria-label="Earlier: ${it.title}" disabled=${place === 0} onClick=${change("move", { place: it.place, by: -1 })}>↑<//><${Button} class="quiet" aria-label="Later: ${it.title}" disabled=${place === items.length - 1} onClick=${change("move", { place: it.place, by: 1 })}>↓<//>
        <${Button} class="quiet" aria-label="Take out: ${it.title}" onClick=${change("withdraw", { place: it.place })}>Take out<//></span></li>`)}</ol>` : html`<p class="empty">Nothing waits.</p>`}</section>
  </div>`;
};

mount(html`<${Queue} first=${data()} />`, "#queue");
