// Camera or screen in, sharp picture out.
import { WORDS } from './words.js';

const IN_FLIGHT = 2; // frames on their way: more would only wait, and be old when they come
const QUALITY = 0.92;

export class Live {
  constructor(model) {
    const find = (id) => document.querySelector(id);
    this.model = model;
    this.canvas = find('#live-canvas');
    this.context = this.canvas.getContext('2d');
    this.video = find('#live-source');
    this.button = find('#live-start');
    this.size = find('#live-size');
    this.facts = find('#live-facts');
    this.status = find('#live-status');
    this.hint = find('#live-hint');
    this.socket = null;
    this.choose('camera');
    this.button.addEventListener('click', () => (this.socket ? this.stop() : this.start()));
  }

  choose(kind) {
    this.kind = kind;
    document.querySelector('#live-title').textContent = WORDS.live[kind];
  }

  async start() {
    this.status.textContent = '';
    try {
      const wish = { video: { width: { ideal: 1280 }, height: { ideal: 720 } }, audio: false };
      this.stream = this.kind === 'screen'
        ? await navigator.mediaDevices.getDisplayMedia({ video: true, audio: false })
        : await navigator.mediaDevices.getUserMedia(wish);
    } catch {
      this.status.textContent = WORDS.liveDenied;
      return;
    }
    this.stream.getVideoTracks()[0].addEventListener('ended', () => this.stop());
    this.video.srcObject = this.stream;
    this.video.hidden = false;
    this.hint.hidden = true;
    await this.video.play();
    const [width, height] = this.sizeOf(this.video.videoWidth, this.video.videoHeight);
    this.small = new OffscreenCanvas(width, height);
    this.sent = this.came = this.dropped = 0;
    this.times = [];
    const address = new URL('api/live', document.baseURI);
    address.protocol = address.protocol.replace('http', 'ws');
    this.socket = new WebSocket(address);
    this.socket.binaryType = 'arraybuffer';
    this.socket.onopen = () => this.socket.send(JSON.stringify({ model: this.model(), width, height }));
    this.socket.onmessage = (event) => (typeof event.data === 'string' ? this.begin(JSON.parse(event.data)) : this.receive(event.data));
    this.socket.onclose = () => this.stop();
    this.button.textContent = WORDS.liveStop;
    this.status.textContent = WORDS.liveLoading;
  }

  // as many lines as were chosen, in the shape of what comes; the server takes 16 to 1920
  sizeOf(width, height) {
    const lines = Number(this.size.value);
    const wide = 2 * Math.round((lines * width) / height / 2);
    return [Math.min(1920, Math.max(16, wide)), lines];
  }

  begin(news) {
    this.status.textContent = news.error ?? '';
    if (!news.ready) return;
    Object.assign(this.canvas, { width: news.width, height: news.height });
    const each = () => {
      if (!this.socket) return;
      this.send();
      this.video.requestVideoFrameCallback(each);
    };
    each();
  }

  async send() {
    if (this.sent - this.came - this.dropped >= IN_FLIGHT || this.socket?.readyState !== WebSocket.OPEN) return;
    this.sent += 1;
    const stamp = performance.now();
    const context = this.small.getContext('2d');
    context.imageSmoothingQuality = 'high';
    context.drawImage(this.video, 0, 0, this.small.width, this.small.height);
    const blob = await this.small.convertToBlob({ type: 'image/jpeg', quality: QUALITY });
    const message = new Uint8Array(8 + blob.size);
    new DataView(message.buffer).setFloat64(0, stamp, true);
    message.set(new Uint8Array(await blob.arrayBuffer()), 8);
    this.socket?.send(message);
  }

  async receive(data) {
    const head = new DataView(data);
    const stamp = head.getFloat64(0, true);
    const model = head.getFloat32(8, true);
    this.dropped = head.getUint32(12, true);
    this.came += 1;
    const picture = await createImageBitmap(new Blob([data.slice(16)], { type: 'image/jpeg' }));
    this.context.drawImage(picture, 0, 0);
    picture.close();
    const now = performance.now();
    this.times = [...this.times, now].slice(-10);
    const span = now - this.times[0];
    const fps = span ? ((1000 * (this.times.length - 1)) / span).toFixed(1) : '…';
    this.facts.textContent = WORDS.liveFacts(fps, Math.round(now - stamp), Math.round(model), this.dropped);
  }

  stop() {
    if (!this.socket) return;
    const socket = this.socket;
    this.socket = null;
    socket.close();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
    this.video.hidden = true;
    // the last sharp frame stays, if there is one
    this.hint.hidden = this.came > 0;
    this.button.textContent = WORDS.liveStart;
    if (this.status.textContent === '' || this.status.textContent === WORDS.liveLoading) this.status.textContent = WORDS.liveEnded;
  }
}
