// The page: a client of the server's interface and nothing else.
import { bytes, duration, get, post, remove, upload } from './api.js';
import { Form, element } from './form.js';
import { Jobs } from './jobs.js';
import { Live } from './live.js';
import { Player } from './player.js';
import { View } from './view.js';
import { WORDS } from './words.js';

const TIMED = 500e6; // bytes: the times of all frames are read from the whole file

const find = (id) => document.querySelector(id);
const stage = find('#stage');

function translate() {
  for (const node of document.querySelectorAll('[data-text]')) node.textContent = WORDS[node.dataset.text];
  for (const node of document.querySelectorAll('[data-label]')) node.setAttribute('aria-label', WORDS[node.dataset.label]);
  for (const node of document.querySelectorAll('button[data-label]')) node.title = WORDS[node.dataset.label];
  for (const node of document.querySelectorAll('[data-alt]')) node.setAttribute('alt', WORDS[node.dataset.alt]);
  find('#theme').textContent = '◐';
  find('#key-list').append(...WORDS.keyHelp.flatMap(([key, text]) => [
    element('dt', {}, element('kbd', {}, key)), element('dd', {}, text)]));
}

class Page {
  constructor(about) {
    this.about = about;
    this.inputs = [];
    this.input = null;
    this.times = new Map(); // id of an input -> seconds of its frames
    this.job = null; // whose frames are on the right: a preview or a result
    this.form = new Form(find('#form'), about);
    this.view = new View(stage, find('#canvas'), find('#handle'), { left: find('#tag-left'), right: find('#tag-right') });
    this.view.words = { left: WORDS.bicubic, right: WORDS.result, difference: WORDS.difference };
    this.view.changed = () => this.showZoom();
    this.player = new Player(this.view);
    this.player.moved = (note) => this.showPlace(note);
    this.jobs = new Jobs({
      has: (id) => this.inputs.some((entry) => entry.id === id),
      show: (job) => this.showJob(job),
      again: (job) => this.again(job),
      tell: (sentence) => this.tell(sentence),
    });
    this.live = new Live(() => this.form.form.elements.model.value);
    this.listen();
    this.listenToFiles();
    this.listenToKeys();
    this.follow();
  }

  tell(sentence) {
    find('#status').textContent = sentence;
    find('#welcome .small').textContent = sentence || WORDS.stays;
  }

  // a sentence about the form, below the field that it names, else above the buttons
  complain(sentence) {
    this.form.complain(sentence, find('#problem'));
  }

  wait(sentence) {
    find('#waiting').hidden = !sentence;
    find('#waiting-text').textContent = sentence ?? '';
  }

  // ---- the server's news

  follow() {
    this.lost = false;
    const events = new EventSource('api/events');
    events.onmessage = (event) => {
      if (this.lost) this.tell(WORDS.serverBack);
      this.lost = false;
      this.jobs.update(JSON.parse(event.data));
      this.watch();
    };
    events.onerror = () => {
      this.lost = true;
      this.tell(WORDS.serverLost);
      // a server that refuses once would never be asked again by the browser itself
      if (events.readyState === EventSource.CLOSED) setTimeout(() => this.follow(), 2000);
    };
  }

  // the preview on the stage grows while the command works
  watch() {
    if (!this.job || this.job.kind !== 'preview') return;
    const job = this.jobs.jobs.get(this.job.id);
    if (!job) {
      // another tab asked for a newer preview of the same video
      if (this.job.state !== 'done') this.tell(WORDS.gone);
      this.wait(null);
      return;
    }
    const before = this.job.progress.frames;
    this.job = job;
    const { frames, total, fps, line } = job.progress;
    if (job.state === 'failed') {
      this.wait(null);
      this.tell(job.error);
    } else if (job.state === 'done') {
      this.wait(null);
      if (before !== frames || this.shownState !== 'done') this.estimate();
    } else this.wait(frames ? WORDS.working(frames, total, fps && fps.toPrecision(2)) : `${WORDS.preparing}${line ? ` · ${line}` : ''}`);
    this.shownState = job.state;
    if (frames > before || (frames && !this.player.scene?.right)) {
      const follows = this.player.place >= before - 1 && !this.player.playing;
      const scene = this.scene();
      if (this.player.scene?.right) {
        this.player.scene.frames = scene.frames;
        if (follows) this.player.go(scene.frames - 1).catch((problem) => this.tell(problem.message));
        else this.showPlace(scene.note);
      } else this.player.open(scene, scene.frames - 1).catch((problem) => this.tell(problem.message));
    }
  }

  // ---- what is on the stage

  resultSize() {
    const clip = this.input.clip;
    if (this.job?.clip) return [this.job.clip.width, this.job.clip.height];
    if (this.expected?.input === this.input.id) return this.expected.size;
    return [4 * clip.width, 4 * clip.height];
  }

  scene() {
    const { input, job } = this;
    const [width, height] = this.resultSize();
    const start = job?.options.start ?? 0;
    const clip = input.clip;
    const enlarged = (place) => `api/inputs/${input.id}/frames/${start + place}?width=${width}&height=${height}`;
    const stretch = (width * clip.height) / (height * clip.width);
    const shape = { rotation: clip.rotation, mirrored: clip.mirrored, aspect: clip.aspect / stretch };
    const scene = { key: input.id, rate: clip.rate, size: [width, height], left: enlarged, shape, start };
    const times = this.times.get(input.id)?.slice(start);
    // the container's number of frames is a guess where the rate varies
    const frames = times?.length ?? clip.frames ?? 1;
    scene.times = times?.map((time) => time - times[0]);
    if (!job) return { ...scene, frames, right: null, films: null, note: WORDS.sourceOnly };
    const right = (place) => `api/jobs/${job.id}/frames/${place}`;
    if (job.kind === 'preview') {
      return { ...scene, frames: job.progress.frames, right, films: null, note: WORDS.previewPaused };
    }
    // browsers have a tone mapping of their own, or none
    const film = (path, hdr) => ({ own: `${path}/video`, copy: `${path}/film`, copied: Boolean(hdr) });
    const films = { left: film(`api/inputs/${input.id}`, clip.hdr), right: film(`api/jobs/${job.id}`, job.clip?.hdr) };
    return { ...scene, frames: job.progress.frames, right, films, offset: 0, note: WORDS.lossless };
  }

  showFacts() {
    const { clip, size, id, name } = this.input;
    find('#inputs').title = name;
    const times = this.times.get(id) ?? [];
    const steps = times.slice(1).map((time, place) => time - times[place]);
    const varies = steps.length > 1 && Math.max(...steps.slice(0, 5000)) > 1.5 * Math.min(...steps.slice(0, 5000));
    find('#facts').textContent = WORDS.facts(clip, bytes(size), varies);
  }

  // then: 'preview' starts one, 'known' shows the latest there is, 'source' none
  async showInput(input, then = 'preview') {
    this.input = input;
    const known = this.jobs.list('preview').filter((job) => job.input === input.id && job.progress.frames);
    this.job = then === 'known' ? known.at(-1) ?? null : null;
    find('#welcome').hidden = true;
    find('#workshop').hidden = false;
    find('#inputs').value = input.id;
    this.showFacts();
    find('#form').elements.start.max = (input.clip.frames ?? 1) - 1;
    this.wait(null);
    this.tell('');
    this.view.line = null;
    find('#flicker-view').hidden = true;
    const opened = this.player.open(this.scene()).catch((problem) => this.tell(problem.message));
    this.learnTimes(input);
    if (then === 'preview') await this.preview();
    else await this.estimate();
    await opened;
  }

  async learnTimes(input) {
    if (this.times.has(input.id) || input.size > TIMED) return;
    const times = await get(`api/inputs/${input.id}/times`).catch(() => null);
    if (!times?.length) return;
    this.times.set(input.id, times);
    this.showFacts();
    if (this.input !== input || this.job?.kind === 'file') return;
    const { frames, times: own } = this.scene();
    Object.assign(this.player.scene, { frames, times: own });
    this.showPlace(this.player.scene.note);
  }

  async preview(start) {
    this.player.stop();
    const options = this.form.values();
    if (start !== undefined) options.start = start;
    // a preview is short; the number of frames is of the job
    delete options.frames;
    if (this.player.range) options.frames = this.player.range[1] - this.player.range[0] + 1;
    try {
      this.wait(WORDS.preparing);
      const job = await post('api/jobs', { input: this.input.id, kind: 'preview', options });
      this.job = job;
      this.jobs.jobs.set(job.id, job);
      this.shownState = '';
      // the same scene, or a frame that is being fetched for it would not be shown
      if (this.player.scene) this.player.scene.right = null;
      await this.estimate();
      this.watch();
    } catch (problem) {
      this.wait(null);
      this.complain(problem.message);
    }
  }

  async showJob(job) {
    const input = this.inputs.find((entry) => entry.id === job.input);
    this.input = input;
    this.job = job;
    this.wait(null);
    find('#welcome').hidden = true;
    find('#workshop').hidden = false;
    find('#inputs').value = input.id;
    this.showFacts();
    const scene = this.scene();
    const [times, sources] = await Promise.all([get(`api/jobs/${job.id}/times`), get(`api/inputs/${input.id}/times`)]);
    scene.times = times;
    scene.frames = times.length;
    scene.offset = sources[job.options.start ?? 0] ?? 0;
    await this.player.open(scene).catch((problem) => this.tell(problem.message));
    stage.focus();
    await this.estimate();
  }

  again(job) {
    this.form.set(job.options);
    this.showInput(this.inputs.find((entry) => entry.id === job.input), 'source');
    find('#form').scrollIntoView({ block: 'nearest' });
    find('#f-scale')?.focus();
  }

  showZoom() {
    const { left, right, scale } = this.view;
    find('#zoom-level').textContent = left || right ? `${Math.round(100 * scale)} %` : '–';
  }

  showPlace(note) {
    const { player } = this;
    const { scene } = player;
    const seek = find('#seek');
    seek.max = player.last;
    seek.value = player.place;
    const seconds = player.seconds(player.place).toFixed(2);
    const frame = WORDS.shown(player.place + 1, player.last + 1, seconds);
    seek.setAttribute('aria-valuetext', frame);
    find('#clock').textContent = player.range ? `${frame}  [${player.range[0] + 1}–${player.range[1] + 1}]` : frame;
    find('#play').textContent = player.playing ? '❚❚' : '▶';
    find('#play').setAttribute('aria-pressed', player.playing);
    if (note && !this.lost) find('#status').textContent = note;
    stage.dataset.frame = player.place;
    stage.dataset.sides = scene.right ? 'both' : 'source';
    stage.dataset.motion = player.films ? 'film' : '';
    if (!player.playing) this.measure();
  }

  async measure() {
    const reference = find('#reference').value;
    find('#quality').textContent = '';
    if (!reference || !this.job) return;
    const path = `api/jobs/${this.job.id}/quality?reference=${reference}&frame=${this.player.place}`;
    try {
      const values = await get(path);
      if (reference !== find('#reference').value) return;
      find('#quality').textContent = WORDS.quality(values);
    } catch (problem) {
      find('#quality').textContent = problem.message;
    }
  }

  // ---- the form

  wish() {
    return { input: this.input.id, options: this.form.values(), container: this.form.container };
  }

  async estimate() {
    if (!this.input) return;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    let found;
    try {
      found = await post('api/estimate', this.wish());
    } catch (problem) {
      if (turn === this.turn) {
        this.complain(problem.message);
        find('#enqueue').disabled = true;
      }
      return;
    }
    if (turn !== this.turn) return;
    if (found.is_pending) setTimeout(() => turn === this.turn && this.estimate(), 700);
    this.complain('');
    find('#enqueue').disabled = false;
    this.expected = { input: this.input.id, size: [found.width, found.height] };
    const rows = [
      [WORDS.time, duration(found.seconds)],
      [WORDS.memory, bytes(found.memory)],
      [WORDS.fileSize, found.bytes ? bytes(found.bytes) : ''],
    ].map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value || (found.is_pending ? '…' : WORDS.unknown))));
    const bases = [WORDS.bases[found.basis], WORDS.sizeBases[found.bytes_basis]].filter(Boolean);
    find('#basis').textContent = found.is_pending ? WORDS.estimating : bases.join(' ');
    find('#basis').dataset.pending = found.is_pending;
    rows.push(element('div', { class: 'all' }, element('dt', {}, WORDS.becomes),
      element('dd', {}, `${found.output_name}, ${found.width} × ${found.height}${found.frames ? `, ${WORDS.length(found.frames)}` : ''}`)));
    find('#estimate').replaceChildren(...rows);
    find('#notes').replaceChildren(...found.notes.map((note) => element('li', {}, note)));
  }

  async enqueue() {
    try {
      this.complain('');
      await post('api/jobs', this.wish());
    } catch (problem) {
      this.complain(problem.message);
    }
  }

  // ---- inputs

  async loadInputs() {
    this.inputs = (await get('api/inputs')).filter((entry) => entry.state === 'ready');
    const options = () => this.inputs.map((entry) => element('option', { value: entry.id }, entry.name));
    find('#inputs').replaceChildren(...options());
    const none = element('option', { value: '' }, WORDS.noReference);
    const chosen = find('#reference').value;
    find('#reference').replaceChildren(none, ...options());
    find('#reference').value = chosen;
    this.jobs.draw();
  }

  async take(wish) {
    try {
      const entry = await post('api/inputs', wish);
      if (entry.state === 'bad') {
        await remove(`api/inputs/${entry.id}`);
        this.tell(entry.error);
        return;
      }
      await this.loadInputs();
      find('#ask-path').close();
      await this.showInput(entry);
    } catch (problem) {
      this.tell(problem.message);
      find('#ask-path').close();
    }
  }

  async takeFiles(files) {
    for (const file of files) {
      try {
        const entry = await upload(file, this.about, (sentence) => this.tell(sentence));
        await this.loadInputs();
        this.tell('');
        await this.showInput(entry);
      } catch (problem) {
        this.tell(problem.message);
      }
    }
  }

  async removeInput() {
    if (!this.input) return;
    try {
      await remove(`api/inputs/${this.input.id}`);
      await this.loadInputs();
      this.input = this.job = null;
      if (this.inputs.length) await this.showInput(this.inputs[0], 'known');
      else {
        find('#workshop').hidden = true;
        find('#welcome').hidden = false;
      }
    } catch (problem) {
      this.tell(problem.message);
    }
  }

  listenToFiles() {
    const file = find('#file');
    const ask = () => file.click();
    find('#choose').addEventListener('click', ask);
    find('#add-file').addEventListener('click', () => {
      find('#ask-path').close();
      ask();
    });
    file.addEventListener('change', () => {
      const files = [...file.files];
      file.value = '';
      this.takeFiles(files);
    });
    for (const id of ['#demo', '#add-demo']) {
      find(id).hidden = !this.about.demo;
      find(id).addEventListener('click', () => this.take({ demo: true }));
    }
    find('#browse').hidden = !this.about.roots.length;
    for (const id of ['#add', '#browse']) find(id).addEventListener('click', () => this.askPath());
    find('#remove').addEventListener('click', () => this.removeInput());
    const carries = (event) => event.dataTransfer?.types.includes('Files');
    addEventListener('dragover', (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      find('#drop-here').hidden = false;
    });
    addEventListener('dragleave', (event) => {
      if (!event.relatedTarget) find('#drop-here').hidden = true;
    });
    addEventListener('drop', (event) => {
      find('#drop-here').hidden = true;
      if (!carries(event)) return;
      event.preventDefault();
      this.openTab('video');
      this.takeFiles([...event.dataTransfer.files]);
    });
  }

  async askPath() {
    find('#roots').hidden = !this.about.roots.length;
    find('#ask-path').showModal();
    if (!this.about.roots.length) return;
    const files = await get('api/roots');
    find('#root-list').replaceChildren(...files.map((file) => element('li', {},
      element('button', { onclick: () => this.take({ path: file.path }) }, `${file.path} (${bytes(file.size)})`))));
  }

  // ---- controls

  listen() {
    const { view, player } = this;
    const press = (id, act) => find(id).addEventListener('click', act);
    for (const button of find('#modes').children) button.addEventListener('click', () => this.press(button.dataset.mode));
    press('#zoom-in', () => view.setZoom(view.scale * 1.25));
    press('#zoom-out', () => view.setZoom(view.scale / 1.25));
    press('#zoom-fit', () => view.setZoom(0));
    press('#zoom-one', () => view.setZoom(1));
    press('#back', () => player.step(-1));
    press('#forth', () => player.step(1));
    press('#play', () => player.toggle());
    press('#loop', () => this.setLoop(!player.looping));
    press('#range-in', () => this.setRange('in'));
    press('#range-out', () => this.setRange('out'));
    press('#line', () => this.setDrawing(!view.drawing));
    press('#preview', () => this.preview());
    press('#keys-button', () => find('#keys').showModal());
    press('#theme', () => setTheme(document.documentElement.dataset.theme === 'light' ? 'dark' : 'light'));
    find('#seek').addEventListener('input', (event) => {
      player.stop();
      player.go(Number(event.target.value)).catch((problem) => this.tell(problem.message));
    });
    find('#inputs').addEventListener('change', (event) => {
      this.showInput(this.inputs.find((entry) => entry.id === event.target.value));
    });
    find('#reference').addEventListener('change', () => this.measure());
    find('#form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.enqueue();
    });
    let timer;
    find('#form').addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.estimate(), 300);
    });
    const tabs = [...find('#tabs').children];
    tabs.forEach((tab, place) => {
      tab.addEventListener('click', () => this.openTab(tab.id.replace('tab-', '')));
      tab.addEventListener('keydown', (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.stopPropagation();
        const next = tabs[(place + step + tabs.length) % tabs.length];
        next.focus();
        this.openTab(next.id.replace('tab-', ''));
      });
    });
  }

  openTab(name) {
    for (const tab of find('#tabs').children) {
      const chosen = tab.id === `tab-${name}`;
      tab.setAttribute('aria-selected', chosen);
      tab.tabIndex = chosen ? 0 : -1;
    }
    find('#panel-video').hidden = name !== 'video';
    find('#panel-live').hidden = name === 'video';
    find('#panel-live').setAttribute('aria-labelledby', `tab-${name === 'video' ? 'camera' : name}`);
    if (name === 'video' || name !== this.live.kind) this.live.stop();
    if (name !== 'video') this.live.choose(name);
    if (name !== 'video') this.player.stop();
    this.view.draw();
  }

  // a second press on Flip shows the other side
  press(mode) {
    if (mode === 'flip' && this.view.mode === 'flip') this.flip();
    else this.setMode(mode);
  }

  flip() {
    if (this.view.mode !== 'flip') this.setMode('flip');
    this.view.flipped = !this.view.flipped;
    this.view.draw();
  }

  setMode(mode) {
    this.view.setMode(mode);
    for (const button of find('#modes').children) button.setAttribute('aria-pressed', button.dataset.mode === mode);
  }

  setLoop(loops) {
    this.player.looping = loops;
    find('#loop').setAttribute('aria-pressed', loops);
  }

  setRange(edge) {
    const { player } = this;
    const [first, end] = player.range ?? [0, player.last];
    const range = edge === 'in' ? [player.place, Math.max(player.place, end)] : [Math.min(first, player.place), player.place];
    player.range = range[0] === 0 && range[1] === player.last ? null : range;
    this.setLoop(true);
    // on the source the range is that of the job to come
    if (!this.job) {
      this.form.setOne('start', player.range?.[0] ?? 0);
      this.form.setOne('frames', player.range ? range[1] - range[0] + 1 : '');
      this.estimate();
    }
    this.showPlace(player.scene.note);
  }

  setDrawing(draws) {
    find('#line').setAttribute('aria-pressed', draws);
    stage.classList.toggle('drawing', draws);
    this.view.drawing = draws ? (line) => this.showFlicker(line) : null;
    if (draws) this.tell(WORDS.drawLine);
    else {
      this.view.line = null;
      find('#flicker-view').hidden = true;
    }
    this.view.draw();
  }

  showFlicker(line) {
    if (!this.job) return;
    const [[x0, y0], [x1, y1]] = line.map((point) => this.view.toStored(point));
    const [first, end] = this.player.range ?? [0, this.player.last];
    const count = Math.min(500, Math.max(2, end - first + 1));
    const query = new URLSearchParams({ x0, y0, x1, y1, start: first, count });
    for (const [id, side] of [['#flicker-left', 'bicubic'], ['#flicker-right', 'result']]) {
      find(id).src = `api/jobs/${this.job.id}/flicker?${query}&side=${side}`;
    }
    const view = find('#flicker-view');
    view.hidden = false;
    view.classList.add('waits');
    Promise.allSettled([...view.querySelectorAll('img')].map((picture) => picture.decode())).then(() => view.classList.remove('waits'));
    this.tell(this.player.scene.note);
  }

  listenToKeys() {
    const { view, player } = this;
    const keys = {
      ArrowLeft: () => player.step(-1), ArrowRight: () => player.step(1), ' ': () => player.toggle(),
      l: () => this.setLoop(!player.looping), w: () => this.setMode('wipe'), s: () => this.setMode('side'),
      f: () => this.setMode('flip'), d: () => this.setMode('difference'),
      ',': () => view.setWipe(view.wipe - 0.02), '.': () => view.setWipe(view.wipe + 0.02),
      '+': () => view.setZoom(view.scale * 1.25), '=': () => view.setZoom(view.scale * 1.25),
      '-': () => view.setZoom(view.scale / 1.25), 0: () => view.setZoom(0), 1: () => view.setZoom(1),
      p: () => this.preview((this.job?.options.start ?? 0) + player.place), '?': () => find('#keys').showModal(),
      i: () => this.setRange('in'), o: () => this.setRange('out'),
      x: () => this.flip(),
    };
    const shifted = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    addEventListener('keydown', (event) => {
      const { target } = event;
      const types = target.matches('input:not([type="range"]):not([type="checkbox"]), select, textarea') || target.closest('dialog');
      const presses = target.matches('button, a, summary, input') && [' ', 'Enter'].includes(event.key);
      if (types || presses || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === '?') {
        keys['?']();
        return;
      }
      if (!this.input || find('#panel-video').hidden) return;
      if (target.id === 'handle' && event.key.startsWith('Arrow') && !event.shiftKey) {
        event.preventDefault();
        view.setWipe(view.wipe + ({ ArrowLeft: -0.02, ArrowRight: 0.02 }[event.key] ?? 0));
        return;
      }
      if (target.id === 'seek' && event.key.startsWith('Arrow')) return;
      if (event.shiftKey && shifted[event.key]) {
        event.preventDefault();
        view.move(...shifted[event.key]);
        return;
      }
      const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (!act) return;
      event.preventDefault();
      Promise.resolve(act()).catch((problem) => this.tell(problem.message));
    });
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem('theme', theme);
  } catch { /* a browser that keeps nothing still has a theme */ }
}

function firstTheme() {
  let stored = null;
  try {
    stored = localStorage.getItem('theme');
  } catch { /* as above */ }
  setTheme(stored ?? (matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark'));
}

firstTheme();
translate();
const page = new Page(await get('api/about'));
page.openTab('video');
await page.loadInputs();
const before = await get('api/jobs');
page.jobs.update({ jobs: before, ids: before.map((job) => job.id) });
if (page.inputs.length) await page.showInput(page.inputs.at(-1), 'known');
document.documentElement.dataset.ready = 'yes';
