// Frames by number, lossless while paused, and in motion the files themselves, or copies
// of what the browser cannot play.
import { post } from './api.js';
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
    this.told = ''; // instead of the scene's own note, while it plays
    this.range = null;
    this.turn = 0;
    this.moved = () => {};
  }

  // scene: {key, frames, rate, start, size, left(n), right(n) or null, shape,
  //         films: {left, right} or null, times}; a film is {own, copy, copied}: two
  //         addresses, and whether the copy is needed
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
    if (scene.films) this.replaceSlides(scene);
  }

  // what this browser cannot play is made into something that it can; frames are shown
  // one by one meanwhile
  async replaceSlides(scene) {
    const made = await this.makeFilms(scene).catch((problem) => {
      this.told = problem.message;
      return false;
    });
    if (made && this.playing && scene === this.scene && !this.films) await this.film(scene);
  }

  async makeFilms(scene) {
    const missing = ['left', 'right'].filter((side) => scene.films[side].copied && !scene.films[side].there);
    for (const side of missing) {
      for (;;) {
        if (!this.playing || scene !== this.scene) return false;
        const film = await post(scene.films[side].copy);
        if (film.state === 'failed') return false;
        scene.films[side].there = film.state === 'ready';
        if (scene.films[side].there) break;
        this.told = WORDS.making(film.share == null ? '' : Math.floor(100 * film.share));
        await new Promise((done) => setTimeout(done, 300));
      }
    }
    return missing.length > 0;
  }

  // lossless pictures one after the other, at the clip's own times
  async slides(scene) {
    while (this.playing && scene === this.scene && !this.films) {
      const [first, end] = this.range ?? [0, this.last];
      const begin = performance.now();
      const next = this.place >= end ? first : this.place + 1;
      if (next === first && !this.looping) break;
      const length = next === first ? 1 / scene.rate : this.seconds(next) - this.seconds(this.place);
      await this.go(next).catch(() => this.stop());
      if (this.told) this.moved(this.told);
      const rest = 1000 * length - (performance.now() - begin);
      await new Promise((done) => setTimeout(done, Math.max(0, rest)));
    }
    if (scene === this.scene && !this.films) this.stop();
  }

  // both files in step: each shown frame of the result asks for the source's frame of
  // the same time
  async film(scene) {
    const begin = { left: scene.offset + this.seconds(this.place), right: this.seconds(this.place) };
    const films = await Promise.all(['left', 'right'].map((side) => this.load(scene.films[side], begin[side] + 1e-4)));
    if (!this.playing || scene !== this.scene) return true;
    if (films.includes(null)) return false;
    const [left, right] = films;
    this.release();
    this.films = films;
    this.told = scene.films.left.copied || scene.films.right.copied ? WORDS.motionCopy : WORDS.motion;
    const times = { left: NaN, right: NaN };
    const follow = (film, side) => film.requestVideoFrameCallback((now, facts) => {
      if (!this.playing || this.films !== films) return;
      times[side] = facts.mediaTime;
      this.meet(scene, films, times);
      follow(film, side);
    });
    follow(left, 'left');
    follow(right, 'right');
    right.onended = () => (this.looping ? this.play() : this.stop());
    await Promise.all(films.map((film) => film.play()));
    return true;
  }

  // draws when both films show the frame of the same time; times: of their frames
  meet(scene, [left, right], times) {
    const lag = Math.abs(times.right + scene.offset - times.left);
    if (lag > 0.5 / scene.rate) {
      // one is often a refresh of the screen later; more is out of step
      if (lag > 2.5 / scene.rate && !left.seeking) left.currentTime = right.currentTime + scene.offset;
      return;
    }
    this.place = this.at(times.right);
    this.view.show(left, right, scene.size);
    this.moved(this.told);
    const [first, end] = this.range ?? [0, this.last];
    if (this.place < end || right.seeking) return;
    if (!this.looping) {
      this.stop();
      return;
    }
    right.currentTime = this.seconds(first) + 1e-4;
    left.currentTime = right.currentTime + scene.offset;
    // one that has come to its end stands still
    for (const film of [left, right]) film.play().catch(() => {});
  }

  // a film that stands at a time, or null if this browser cannot play it
  async load(source, time) {
    if (source.copied && !source.there) return null;
    const film = this.video(source.copied ? source.copy : source.own);
    film.currentTime = time;
    const plays = await new Promise((done) => {
      // a browser may know the sound of a file and not its pictures
      film.oncanplay = () => done(film.videoWidth > 0);
      film.onerror = () => done(false);
      setTimeout(done, 8000, false);
    });
    if (plays) return film;
    film.removeAttribute('src');
    source.there = false;
    source.copied = true;
    return null;
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
    this.told = '';
    const filmed = this.films;
    this.release();
    // what stands still is lossless again
    if (filmed) this.go(this.place).catch(() => {});
    this.moved(this.scene.note);
  }

  release() {
    for (const film of this.films ?? []) {
      film.onended = null;
      film.pause();
      film.removeAttribute('src');
    }
    this.films = null;
  }
}
