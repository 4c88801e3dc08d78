// The queue and the history.
import { bytes, duration, patch, remove } from './api.js';
import { element } from './form.js';
import { WORDS } from './words.js';

const WAITING = ['queued', 'running', 'paused'];

export class Jobs {
  // deeds: {show(job), again(job), fail(problem), tell(sentence)}
  constructor(deeds) {
    this.deeds = deeds;
    this.jobs = new Map();
    this.rows = new Map();
    this.queue = document.querySelector('#queue');
    this.history = document.querySelector('#history');
    this.dragged = null;
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
      if (!row || row.list !== list || row.state !== job.state) {
        const focused = row?.node.contains(document.activeElement) ? document.activeElement.dataset.deed : null;
        row?.node.remove();
        row = this.build(job, list);
        this.rows.set(job.id, row);
        if (focused) queueMicrotask(() => (row.node.querySelector(`[data-deed="${focused}"]`) ?? row.node.querySelector('button'))?.focus());
      }
      row.refresh(job);
      if (list.children[place] !== row.node) list.insertBefore(row.node, list.children[place] ?? null);
    });
  }

  build(job, list) {
    const details = element('div', { class: 'details' });
    const actions = element('div', { class: 'actions' }, ...this.actions(job));
    const picture = element('img', { src: `api/inputs/${job.input}/thumbnail`, alt: '', loading: 'lazy', draggable: 'false' });
    const title = element('div', { class: 'title', title: job.name }, job.output_name);
    const node = element('li', { class: 'job', 'data-id': job.id });
    if (list === this.queue) node.append(this.grip(job, node));
    node.append(picture, title, details, actions);
    const refresh = (now) => {
      details.replaceChildren(...this.details(now, details));
    };
    return { node, list, state: job.state, refresh };
  }

  details(job, old) {
    const state = element('span', { class: `state ${job.state}` }, WORDS.states[job.state]);
    const set = WORDS.asSet(job.words.join(' '));
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
      parts.push(state, `, ${facts.join(', ')} · ${set}`);
    } else if (job.state === 'failed') parts.push(state, ': ', element('span', { class: 'error' }, job.error));
    else parts.push(state, job.size ? `, ${bytes(job.size)}` : '', ` · ${set}`);
    return parts;
  }

  actions(job) {
    const button = (deed, act, strong) => element('button', {
      'data-deed': deed, class: strong ? 'strong' : '', 'aria-label': WORDS.actionFor(WORDS[deed], job.output_name),
      onclick: () => Promise.resolve(act()).catch(this.deeds.fail),
    }, WORDS[deed]);
    const change = (action) => () => patch(`api/jobs/${job.id}`, { action });
    const list = [];
    if (['queued', 'running'].includes(job.state)) list.push(button('pause', change('pause')));
    if (['paused', 'failed'].includes(job.state)) list.push(button('resume', change('resume'), true));
    if (WAITING.includes(job.state)) list.push(button('cancel', change('cancel')));
    if (job.state === 'done') {
      // a folder of frames comes as an archive, and is not shown here
      const name = job.clip ? job.output_name : '';
      if (job.clip) list.push(button('show', () => this.deeds.show(job)));
      list.push(element('a', { class: 'button', href: `api/jobs/${job.id}/download`, download: name,
        'data-deed': 'download', 'aria-label': WORDS.actionFor(WORDS.download, job.output_name) }, WORDS.download));
    }
    if (!WAITING.includes(job.state)) {
      list.push(button('again', () => this.deeds.again(job)));
      list.push(button('delete', () => remove(`api/jobs/${job.id}`)));
    }
    return list;
  }

  grip(job, node) {
    const grip = element('button', { class: 'grip', 'data-deed': 'grip', draggable: 'true', 'aria-label': WORDS.grip(job.output_name) }, '⠿');
    grip.addEventListener('dragstart', (event) => {
      this.dragged = job.id;
      event.dataTransfer.setData('text/plain', job.id);
      event.dataTransfer.setDragImage(node, 10, 10);
    });
    grip.addEventListener('dragend', () => {
      this.dragged = null;
    });
    grip.addEventListener('keydown', (event) => {
      const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      const ids = [...this.queue.children].map((row) => row.dataset.id);
      const place = ids.indexOf(job.id) + step;
      if (place < 0 || place >= ids.length) return;
      this.move(job, step < 0 ? ids[place] : ids[place + 1] ?? '');
    });
    node.addEventListener('dragover', (event) => {
      if (!this.dragged || this.dragged === job.id) return;
      event.preventDefault();
      node.classList.add('over');
    });
    node.addEventListener('dragleave', () => node.classList.remove('over'));
    node.addEventListener('drop', (event) => {
      node.classList.remove('over');
      if (!this.dragged) return;
      event.preventDefault();
      this.move(this.jobs.get(this.dragged), job.id);
    });
    return grip;
  }

  move(job, before) {
    patch(`api/jobs/${job.id}`, { action: 'move', before })
      .then(() => this.deeds.tell(WORDS.moved(job.output_name)))
      .catch(this.deeds.fail);
  }
}
