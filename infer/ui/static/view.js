// The comparison: two pictures of one size on one canvas, with one zoom for both.
export class View {
  constructor(stage, canvas, handle, tags) {
    Object.assign(this, { stage, canvas, handle, tags });
    this.context = canvas.getContext('2d', { colorSpace: 'srgb', willReadFrequently: false });
    this.left = this.right = null;
    this.size = [16, 9];
    this.shape = { rotation: 0, mirrored: false, aspect: 1 };
    this.mode = 'wipe';
    this.wipe = 0.5;
    this.flipped = false;
    this.zoom = 0; // device pixels for a pixel of the result; 0 fits the stage
    this.centre = [0.5, 0.5];
    this.words = { left: '', right: '', difference: '' };
    this.line = null;
    this.changed = () => {};
    this.waits = false;
    new ResizeObserver(() => this.draw()).observe(stage);
    this.listen();
  }

  // left, right: ImageBitmap or video, of any size, drawn at `size` (W, H) of the result
  show(left, right, size) {
    this.left = left;
    this.right = right;
    this.size = size;
    this.drawNow();
  }

  draw() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => {
      this.waits = false;
      this.drawNow();
    });
  }

  get scale() {
    return this.zoom || this.fitting();
  }

  fitting() {
    const [width, height] = this.turned();
    const room = this.mode === 'side' && this.right ? this.canvas.width / 2 : this.canvas.width;
    return Math.min(room / width, this.canvas.height / height);
  }

  turned() {
    const [width, height] = [this.size[0] * this.shape.aspect, this.size[1]];
    return this.shape.rotation % 180 ? [height, width] : [width, height];
  }

  drawNow() {
    const { canvas, context } = this;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(this.stage.clientWidth * ratio);
    const height = Math.round(this.stage.clientHeight * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    const both = this.left && this.right;
    const cut = Math.round(this.wipe * width);
    if (!both) this.part(this.left ?? this.right, 0, width, 0, width);
    else if (this.mode === 'wipe') {
      this.part(this.left, 0, cut, 0, width);
      this.part(this.right, cut, width, 0, width);
    } else if (this.mode === 'side') {
      const half = Math.round(width / 2);
      this.part(this.left, 0, half - 1, 0, half);
      this.part(this.right, half + 1, width, half, width);
    } else if (this.mode === 'flip') this.part(this.flipped ? this.left : this.right, 0, width, 0, width);
    else this.difference(width);
    this.drawLine(ratio);
    this.label(both, cut / width);
    this.changed();
  }

  // draws a picture into the columns from..to, centred between start and end
  part(picture, from, to, start, end, operation = 'source-over') {
    if (!picture || to <= from) return;
    const { context, canvas, scale } = this;
    // a browser turns and stretches a film itself
    const filmed = picture instanceof HTMLVideoElement;
    const [upright, tall] = this.turned();
    const shape = filmed ? { rotation: 0, mirrored: false, aspect: 1 } : this.shape;
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, canvas.height);
    context.clip();
    const x = (start + end) / 2 - (this.centre[0] - 0.5) * upright * scale;
    const y = canvas.height / 2 - (this.centre[1] - 0.5) * tall * scale;
    const across = (filmed ? upright : this.size[0] * shape.aspect) * scale;
    const down = (filmed ? tall : this.size[1]) * scale;
    // whole device pixels, or 1:1 would be blurred by half a pixel
    const swaps = shape.rotation % 180;
    const corner = [Math.round(x - (swaps ? down : across) / 2), Math.round(y - (swaps ? across : down) / 2)];
    context.translate(corner[0] + (swaps ? down : across) / 2, corner[1] + (swaps ? across : down) / 2);
    if (shape.rotation) context.rotate((shape.rotation * Math.PI) / 180);
    if (shape.mirrored) context.scale(-1, 1);
    context.imageSmoothingEnabled = scale < 1 || shape.aspect !== 1;
    context.imageSmoothingQuality = 'high';
    context.globalCompositeOperation = operation;
    context.drawImage(picture, -across / 2, -down / 2, across, down);
    context.restore();
  }

  difference(width) {
    const { context, canvas } = this;
    this.part(this.left, 0, width, 0, width);
    this.part(this.right, 0, width, 0, width, 'difference');
    context.globalCompositeOperation = 'lighter';
    context.drawImage(canvas, 0, 0);
    context.drawImage(canvas, 0, 0);
    context.globalCompositeOperation = 'source-over';
  }

  label(both, cut) {
    const wipes = both && this.mode === 'wipe';
    this.handle.hidden = !wipes;
    this.handle.style.left = `${100 * cut}%`;
    this.handle.setAttribute('aria-valuenow', Math.round(100 * this.wipe));
    const { left, right, difference } = this.words;
    let pair = [left, right];
    if (!both) pair = [this.left ? left : '', this.right ? right : ''];
    else if (this.mode === 'flip') pair = [this.flipped ? left : right, ''];
    else if (this.mode === 'difference') pair = [difference, ''];
    this.tags.left.textContent = pair[0];
    this.tags.right.textContent = pair[1];
  }

  drawLine(ratio) {
    if (!this.line) return;
    const { context } = this;
    const [start, end] = this.line.map((point) => this.toCanvas(point));
    context.lineWidth = 3 * ratio;
    context.strokeStyle = '#000a';
    context.beginPath();
    context.moveTo(...start);
    context.lineTo(...end);
    context.stroke();
    context.lineWidth = 1.5 * ratio;
    context.strokeStyle = '#ffb454';
    context.stroke();
  }

  // share of the shown picture -> device pixels of the canvas
  toCanvas([x, y]) {
    const [width, height] = this.turned();
    const middle = this.mode === 'side' && this.right ? 0.75 : 0.5;
    return [
      this.canvas.width * middle + (x - this.centre[0]) * width * this.scale,
      this.canvas.height / 2 + (y - this.centre[1]) * height * this.scale,
    ];
  }

  // the other way round, from a pointer event
  toPicture(event) {
    const ratio = this.canvas.width / this.stage.clientWidth;
    const place = this.stage.getBoundingClientRect();
    const [width, height] = this.turned();
    let middle = 0.5;
    if (this.mode === 'side' && this.right) middle = event.clientX - place.left > place.width / 2 ? 0.75 : 0.25;
    const x = (event.clientX - place.left) * ratio - this.canvas.width * middle;
    const y = (event.clientY - place.top) * ratio - this.canvas.height / 2;
    return [x / (width * this.scale) + this.centre[0], y / (height * this.scale) + this.centre[1]];
  }

  // share of the shown picture -> share of the stored one, before it is turned
  toStored([x, y]) {
    const turns = { 0: [x, y], 90: [y, 1 - x], 180: [1 - x, 1 - y], 270: [1 - y, x] };
    const [across, down] = turns[this.shape.rotation];
    return [this.shape.mirrored ? 1 - across : across, down].map((v) => Math.min(1, Math.max(0, v)));
  }

  setZoom(zoom, around) {
    const before = this.scale;
    this.zoom = zoom && Math.min(32, Math.max(0.05, zoom));
    if (!this.zoom) this.centre = [0.5, 0.5];
    else if (around) {
      // the point under the pointer stays where it is
      const share = before / this.zoom;
      this.centre = this.centre.map((c, i) => around[i] - (around[i] - c) * share);
    }
    this.clamp();
    this.draw();
  }

  move(dx, dy) {
    if (!this.zoom) this.zoom = this.scale;
    const [width, height] = this.turned();
    this.centre = [this.centre[0] - dx / (width * this.scale), this.centre[1] - dy / (height * this.scale)];
    this.clamp();
    this.draw();
  }

  clamp() {
    this.centre = this.centre.map((c) => Math.min(1, Math.max(0, c)));
  }

  setWipe(share) {
    this.wipe = Math.min(1, Math.max(0, share));
    this.draw();
  }

  setMode(mode) {
    this.mode = mode;
    this.flipped = false;
    this.draw();
  }

  listen() {
    const pointers = new Map();
    let span = 0;
    this.handle.addEventListener('pointerdown', (event) => {
      event.stopPropagation();
      this.handle.setPointerCapture(event.pointerId);
    });
    this.handle.addEventListener('pointermove', (event) => {
      if (!this.handle.hasPointerCapture(event.pointerId)) return;
      const place = this.stage.getBoundingClientRect();
      this.setWipe((event.clientX - place.left) / place.width);
    });
    this.stage.addEventListener('pointerdown', (event) => {
      this.stage.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
      if (this.drawing) this.line = [this.toPicture(event), this.toPicture(event)];
      this.stage.classList.add('moving');
    });
    this.stage.addEventListener('pointermove', (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      pointers.set(event.pointerId, event);
      if (this.drawing) {
        this.line = [this.line[0], this.toPicture(event)];
        this.draw();
        return;
      }
      const ratio = this.canvas.width / this.stage.clientWidth;
      if (pointers.size === 2) {
        const [a, b] = [...pointers.values()];
        const now = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
        if (span) this.setZoom((this.scale * now) / span, this.toPicture(event));
        span = now;
      } else this.move((event.clientX - before.clientX) * ratio, (event.clientY - before.clientY) * ratio);
    });
    const release = (event) => {
      if (!pointers.delete(event.pointerId)) return;
      span = 0;
      this.stage.classList.remove('moving');
      if (this.drawing && this.line) this.drawing(this.line);
    };
    this.stage.addEventListener('pointerup', release);
    this.stage.addEventListener('pointercancel', release);
    this.stage.addEventListener('wheel', (event) => {
      event.preventDefault();
      this.setZoom(this.scale * 1.0015 ** -event.deltaY, this.toPicture(event));
    }, { passive: false });
  }
}
