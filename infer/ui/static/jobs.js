// The queue and the history.
import { bytes, duration, patch, remove } from './api.js';
import { element } from './form.js';
import { WORDS } from './words.js';

const WAITING = ['queued', 'running', 'paused'];

export class Jobs {
  // deeds: {has(id of an input), show(job), again(job), tell(sentence)}
  constructor(deeds) {
    this.deeds = deeds;
    this.jobs = new Map();
    this.rows = new Map();
    this.queue = document.querySelector('#queue');
    this.history = document.querySelector('#history');
  }

  update({ jobs, ids }) {
    for (const job of jobs) this.jobs.set(job.id, job);
    const there = new Set(ids);
    for (const id of this.jobs.keys()) if (!there.has(id)) this.jobs.delete(id);
    this.draw();
  }

  list(kind) {
    return [...this.jobs.values()].filter((job) => job.kind === kind).sort((a, b) => a.order - b.order || a.created - b.created);
  }

  draw() {
    const files = this.list('file');
    const waiting = files.filter((job) => WAITING.includes(job.state));
    const ended = files.filter((job) => !WAITING.includes(job.state)).sort((a, b) => b.ended - a.ended);
    this.fill(this.queue, waiting);
    this.fill(this.history, ended);
    document.querySelector('#queue-card').hidden = !waiting.length;
    document.querySelector('#history-card').hidden = !ended.length;
    for (const [id, row] of this.rows) {
      if (files.some((job) => job.id === id)) continue;
      row.node.remove();
      this.rows.delete(id);
    }
  }

  // rows stay the same nodes, so that the focus and a drag survive an update
  fill(list, jobs) {
    jobs.forEach((job, place) => {
      let row = this.rows.get(job.id);
      const there = this.deeds.has(job.input);
      if (!row || row.list !== list || row.state !== job.state || row.there !== there) {
        const focused = row?.node.contains(document.activeElement) ? document.activeElement.dataset.deed : null;
        row?.node.remove();
        row = this.build(job, list, there);
        this.rows.set(job.id, row);
        if (focused) queueMicrotask(() => (row.node.querySelector(`[data-deed="${focused}"]`) ?? row.node.querySelector('button'))?.focus());
      }
      row.refresh(job);
      if (list.children[place] !== row.node) list.insertBefore(row.node, list.children[place] ?? null);
    });
  }

  // there: whether its video is still on the server
  build(job, list, there) {
    const details = element('div', { class: 'details' });
    const fault = element('p', { class: 'fault error', role: 'alert' });
    const fail = (problem) => {
      fault.textContent = problem.message;
    };
    const actions = element('div', { class: 'actions' }, ...this.actions(job, there, fail));
    const source = there ? `api/inputs/${job.input}/thumbnail` : 'icon.svg';
    const picture = element('img', { src: source, alt: '', loading: 'lazy', draggable: 'false' });
    const title = element('div', { class: 'title', title: job.name }, job.output_name);
    const node = element('li', { class: 'job', 'data-id': job.id });
    if (list === this.queue) node.append(this.grip(job, node, fail));
    node.append(picture, title, details, actions, fault);
    const refresh = (now) => {
      details.replaceChildren(...this.details(now, details));
    };
    return { node, list, state: job.state, there, refresh };
  }

  details(job, old) {
    const state = element('span', { class: `state ${job.state}` }, WORDS.states[job.state]);
    const words = job.words.length ? job.words : [WORDS.defaults];
    const set = words.flatMap((word) => [' ', element('span', { class: 'word' }, word)]);
    const parts = [];
    const { frames, total, fps, eta, line } = job.progress;
    if (WAITING.includes(job.state)) {
      const bar = old.querySelector('progress') ?? element('progress', { 'aria-label': WORDS.progressOf(job.output_name) });
      bar.max = total || 1;
      bar.value = frames;
      parts.push(bar);
      const facts = [WORDS.frames(frames, total)];
      if (job.state === 'running' && fps) facts.push(WORDS.rate(fps.toPrecision(3)));
      if (job.state === 'running' && eta != null) facts.push(WORDS.eta(duration(eta)));
      if (job.state === 'running' && !fps && line) facts.push(line);
      parts.push(state, `, ${facts.join(', ')} ·`, ...set);
    } else if (job.state === 'failed') parts.push(state, ': ', element('span', { class: 'error' }, job.error));
    else parts.push(state, job.size ? `, ${bytes(job.size)}` : '', ' ·', ...set);
    if (job.state === 'done' && !this.deeds.has(job.input)) parts.push(` · ${WORDS.videoGone}`);
    return parts;
  }

  actions(job, there, fail) {
    const button = (deed, act) => element('button', {
      'data-deed': deed, 'aria-label': WORDS.actionFor(WORDS[deed], job.output_name),
      onclick: () => {
        fail({ message: '' });
        Promise.resolve(act()).catch(fail);
      },
    }, WORDS[deed]);
    const change = (action) => () => patch(`api/jobs/${job.id}`, { action });
    const list = [];
    if (['queued', 'running'].includes(job.state)) list.push(button('pause', change('pause')));
    if (['paused', 'failed'].includes(job.state)) list.push(button('resume', change('resume')));
    if (WAITING.includes(job.state)) list.push(button('cancel', change('cancel')));
    if (job.state === 'done') {
      // a folder of frames comes as an archive, and is not shown here
      const name = job.clip ? job.output_name : '';
      if (job.clip && there) list.push(button('show', () => this.deeds.show(job)));
      list.push(element('a', { class: 'button', href: `api/jobs/${job.id}/download`, download: name,
        'data-deed': 'download', 'aria-label': WORDS.actionFor(WORDS.download, job.output_name) }, WORDS.download));
    }
    if (!WAITING.includes(job.state)) {
      if (there) list.push(button('again', () => this.deeds.again(job)));
      list.push(button('delete', () => remove(`api/jobs/${job.id}`)));
    }
    return list;
  }

  // drawn by mouse, pen or finger, or moved by the arrow keys
  grip(job, node, fail) {
    const grip = element('button', { class: 'grip', 'data-deed': 'grip', 'aria-label': WORDS.grip(job.output_name) }, '⠿');
    let before = null; // the row in front of which it would go; '' is the end
    const mark = (id) => {
      before = id;
      for (const row of this.queue.children) row.classList.toggle('over', row.dataset.id === id);
    };
    grip.addEventListener('pointerdown', (event) => {
      if (event.button) return;
      grip.setPointerCapture(event.pointerId);
      node.classList.add('dragged');
    });
    grip.addEventListener('pointermove', (event) => {
      if (!grip.hasPointerCapture(event.pointerId)) return;
      const row = [...this.queue.children].find((other) => event.clientY < other.getBoundingClientRect().bottom);
      mark(row === node ? null : row?.dataset.id ?? '');
    });
    const release = (moves) => () => {
      node.classList.remove('dragged');
      const place = before;
      mark(null);
      if (moves && place !== null) this.move(job, place, fail);
    };
    grip.addEventListener('pointerup', release(true));
    grip.addEventListener('pointercancel', release(false));
    grip.addEventListener('keydown', (event) => {
      const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const ids = [...this.queue.children].map((row) => row.dataset.id);
      const place = ids.indexOf(job.id) + step;
      if (place < 0 || place >= ids.length) return;
      this.move(job, step < 0 ? ids[place] : ids[place + 1] ?? '', fail);
    });
    return grip;
  }

  move(job, before, fail) {
    patch(`api/jobs/${job.id}`, { action: 'move', before })
      .then(() => this.deeds.tell(WORDS.moved(job.output_name)))
      .catch(fail);
  }
}
