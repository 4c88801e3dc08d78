// Requests to the server. Addresses are relative, so that a proxy's prefix stays.
import { WORDS } from './words.js';

export class Problem extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

export async function ask(method, path, body, type = 'application/json') {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers['content-type'] = type;
    options.body = type === 'application/json' ? JSON.stringify(body) : body;
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Problem(WORDS.serverLost, 0);
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const text = await answer.text();
  let sentence = text;
  try {
    sentence = JSON.parse(text).error ?? text;
  } catch { /* a proxy's own page: shown as it is */ }
  throw new Problem(sentence.slice(0, 400), answer.status);
}

export const get = (path) => ask('GET', path);
export const post = (path, body) => ask('POST', path, body);
export const patch = (path, body) => ask('PATCH', path, body);
export const remove = (path) => ask('DELETE', path);

const rest = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// Uploads a file in parts; after a lost connection, or when the same file is chosen
// again, it goes on from the last byte that the server has.
export async function upload(file, about, tell) {
  if (file.size > about.max_upload) throw new Problem(WORDS.tooLarge(bytes(about.max_upload)), 413);
  const known = (await get('api/inputs')).find(
    (entry) => entry.state === 'uploading' && entry.name === file.name && entry.size === file.size,
  );
  let entry = known ?? (await post('api/inputs', { name: file.name, size: file.size }));
  let pause = 1;
  while (entry.state === 'uploading') {
    tell(WORDS.uploading(file.name, Math.floor((100 * entry.received) / file.size)));
    const part = file.slice(entry.received, entry.received + about.chunk);
    const path = `api/inputs/${entry.id}/content?offset=${entry.received}`;
    try {
      entry = await ask('PUT', path, part, 'application/octet-stream');
      pause = 1;
    } catch (problem) {
      // 0: no answer, 409: the server has more or less than we think, 5xx of a proxy
      if (![0, 409, 502, 503, 504].includes(problem.status)) throw problem;
      tell(WORDS.uploadLost(pause));
      await rest(pause);
      pause = Math.min(2 * pause, 15);
      entry = await get(`api/inputs/${entry.id}`).catch((other) => {
        if (other.status) throw other;
        return entry;
      });
    }
  }
  if (entry.state === 'bad') {
    await remove(`api/inputs/${entry.id}`);
    throw new Problem(entry.error, 422);
  }
  return entry;
}

export function bytes(number) {
  if (number == null) return '';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = number;
  let place = 0;
  while (value >= 1024 && place < units.length - 1) {
    value /= 1024;
    place += 1;
  }
  // a unit stays in the line of its number
  return `${place ? value.toPrecision(3) : value}\u00a0${units[place]}`;
}

export function duration(seconds) {
  if (seconds == null) return '';
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
