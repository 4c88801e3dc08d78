// Frames by number, lossless while paused, and the files themselves in motion.
import { WORDS } from './words.js';

const KEPT = 64; // pictures in memory; one of 1280x720 takes 3.7 MB

export class Player {
  constructor(view) {
    this.view = view;
    this.cache = new Map();
    this.scene = null;
    this.place = 0;
    this.playing = false;
    this.looping = false;
    this.range = null;
    this.turn = 0;
    this.moved = () => {};
  }

  // scene: {key, frames, rate, start, size, left(n), right(n) or null, shape,
  //         films: {left, right} or null, times, lossless}
  async open(scene, place = 0) {
    this.stop();
    const same = this.scene?.key === scene.key;
    this.scene = scene;
    this.view.shape = scene.shape;
    if (!same) {
      this.range = null;
      this.view.setZoom(0);
    }
    await this.go(place);
  }

  get last() {
    return Math.max(0, (this.scene?.frames ?? 1) - 1);
  }

  async picture(address) {
    if (!this.cache.has(address)) {
      const load = fetch(address).then(async (answer) => {
        if (!answer.ok) throw new Error((await answer.json()).error);
        const blob = await answer.blob();
        return createImageBitmap(blob, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
      });
      this.cache.set(address, load);
      load.catch(() => this.cache.delete(address));
      while (this.cache.size > KEPT) {
        const [oldest] = this.cache.keys();
        this.cache.delete(oldest);
      }
    }
    return this.cache.get(address);
  }

  async go(place) {
    const { scene } = this;
    if (!scene) return;
    this.place = Math.min(this.last, Math.max(0, place));
    const turn = ++this.turn;
    const [left, right] = await Promise.all([
      this.picture(scene.left(this.place)),
      scene.right ? this.picture(scene.right(this.place)) : null,
    ]);
    // a later step has overtaken this one
    if (turn !== this.turn || scene !== this.scene) return;
    this.view.show(left, right, scene.size);
    this.moved(scene.note);
  }

  step(by) {
    this.stop();
    return this.go(this.place + by);
  }

  seconds(place) {
    return this.scene.times?.[place] ?? place / this.scene.rate;
  }

  toggle() {
    if (this.playing) this.stop();
    else this.play();
  }

  async play() {
    if (!this.scene || this.last === 0) return;
    this.playing = true;
    this.moved(this.scene.note);
    const [first, end] = this.range ?? [0, this.last];
    if (this.place >= end || this.place < first) this.place = first;
    const scene = this.scene;
    if (scene.films && (await this.film(scene))) return;
    this.slides(scene);
  }

  // lossless pictures one after the other, at the clip's own times
  async slides(scene) {
    while (this.playing && scene === this.scene) {
      const [first, end] = this.range ?? [0, this.last];
      const begin = performance.now();
      const next = this.place >= end ? first : this.place + 1;
      if (next === first && !this.looping) break;
      const length = next === first ? 1 / scene.rate : this.seconds(next) - this.seconds(this.place);
      await this.go(next).catch(() => this.stop());
      const rest = 1000 * length - (performance.now() - begin);
      await new Promise((done) => setTimeout(done, Math.max(0, rest)));
    }
    if (scene === this.scene) this.stop();
  }

  // both files in step: each shown frame of the result asks for the source's frame of
  // the same time
  async film(scene) {
    const films = ['left', 'right'].map((side) => this.video(scene.films[side]));
    const [left, right] = films;
    try {
      left.currentTime = scene.offset + this.seconds(this.place) + 1e-4;
      right.currentTime = this.seconds(this.place) + 1e-4;
      await Promise.all(films.map((film) => new Promise((done, fail) => {
        film.oncanplay = done;
        film.onerror = fail;
        setTimeout(fail, 8000);
      })));
    } catch {
      return false;
    }
    if (!this.playing || scene !== this.scene) return true;
    this.films = films;
    let behind = 0;
    left.requestVideoFrameCallback(function note(now, facts) {
      behind = facts.mediaTime;
      left.requestVideoFrameCallback(note);
    });
    const draw = (now, facts) => {
      if (!this.playing || this.films !== films) return;
      this.place = this.at(facts.mediaTime);
      const lag = facts.mediaTime + scene.offset - behind;
      // half a frame apart is another frame
      if (Math.abs(lag) > 0.5 / scene.rate) left.currentTime = right.currentTime + scene.offset;
      this.view.show(left, right, scene.size);
      this.moved(WORDS.motion);
      const [first, end] = this.range ?? [0, this.last];
      if (this.place >= end) {
        if (!this.looping) return this.stop();
        right.currentTime = this.seconds(first) + 1e-4;
        left.currentTime = right.currentTime + scene.offset;
      }
      right.requestVideoFrameCallback(draw);
    };
    right.requestVideoFrameCallback(draw);
    right.onended = () => (this.looping ? this.play() : this.stop());
    await Promise.all(films.map((film) => film.play()));
    return true;
  }

  video(address) {
    const film = document.createElement('video');
    film.muted = true;
    film.playsInline = true;
    film.preload = 'auto';
    film.src = address;
    return film;
  }

  // the frame that is on the screen at a time, also where the rate varies
  at(time) {
    const { times, rate } = this.scene;
    if (!times) return Math.min(this.last, Math.round(time * rate));
    let low = 0;
    let high = times.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (times[middle] <= time + 1e-3) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  stop() {
    if (!this.playing) return;
    this.playing = false;
    for (const film of this.films ?? []) {
      film.pause();
      film.removeAttribute('src');
    }
    const filmed = this.films;
    this.films = null;
    // what stands still is lossless again
    if (filmed) this.go(this.place).catch(() => {});
    this.moved(this.scene.note);
  }
}
