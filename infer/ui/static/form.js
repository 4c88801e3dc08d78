// The settings of a job, built from the options of the command as the server tells them.
import { WORDS } from './words.js';

const MAIN = ['model', 'scale', 'size', 'restore', 'container', 'codec', 'crf', 'start', 'frames'];
const OFFERS = { codec: ['libx264', 'libx265', 'libsvtav1', 'libvpx-vp9', 'ffv1', 'prores'] };
// of fields that are empty
const EMPTY = { frames: WORDS.options.all, workers: WORDS.options.none, cut_at: WORDS.options.none };

export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, '');
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

export class Form {
  constructor(form, about) {
    this.form = form;
    this.schema = about.form.properties;
    this.fault = null; // the field that the present problem is about
    const names = Object.keys(this.schema);
    const main = MAIN.filter((name) => name === 'container' || names.includes(name));
    const isBox = (name) => kindOf(this.schema[name]).type === 'boolean';
    const more = names.filter((name) => !main.includes(name)).sort((a, b) => isBox(a) - isBox(b));
    const place = (id) => form.querySelector(id);
    const build = (name) => (name === 'container' ? this.containerField(about.containers) : this.field(name));
    place('#main-fields').append(...main.map(build));
    place('#more-fields').append(...more.map((name) => this.field(name)));
  }

  containerField(names) {
    const options = names.map((name) => element('option', { value: name }, name === 'auto' ? WORDS.options.auto : name));
    return element('div', { class: 'field' },
      element('label', { for: 'f-container' }, WORDS.container),
      element('select', { id: 'f-container', name: 'container' }, ...options));
  }

  field(name) {
    const rule = this.schema[name];
    const kind = kindOf(rule);
    const id = `f-${name}`;
    const help = rule.description ?? '';
    const common = { id, name, title: help, 'aria-description': help };
    const label = element('label', { for: id, title: help }, WORDS.options[name] ?? name.replaceAll('_', ' '));
    let control;
    if (kind.choices) {
      const empty = kind.optional ? [element('option', { value: '' }, WORDS.options.auto)] : [];
      const options = kind.choices.map((value) => element('option', { value, selected: value === rule.default }, String(value)));
      control = element('select', common, ...empty, ...options);
    } else if (kind.type === 'boolean') control = element('input', { ...common, type: 'checkbox', checked: rule.default });
    else {
      const type = ['string', 'array'].includes(kind.type) ? 'text' : 'number';
      const step = kind.type === 'number' ? 'any' : null;
      const value = asText(rule.default);
      const list = OFFERS[name] ? `list-${name}` : null;
      control = element('input', { ...common, type, step, value, list, placeholder: EMPTY[name] ?? WORDS.options.auto, spellcheck: 'false' });
    }
    const parts = [label, control];
    if (OFFERS[name]) parts.push(element('datalist', { id: `list-${name}` }, ...OFFERS[name].map((value) => element('option', { value }))));
    const shape = { boolean: ' check' }[kind.type] ?? (name === 'model' ? ' wide' : '');
    return element('div', { class: `field${shape}` }, ...parts);
  }

  // the options that differ from their defaults, in their own types
  values() {
    const values = {};
    for (const [name, rule] of Object.entries(this.schema)) {
      const control = this.form.elements[name];
      const kind = kindOf(rule);
      let value = kind.type === 'boolean' ? control.checked : control.value.trim();
      if (value === '') continue;
      if (kind.choices) value = kind.choices.find((choice) => String(choice) === value);
      else if (kind.type === 'integer' || kind.type === 'number') value = Number(value);
      else if (kind.type === 'array') value = numbersIn(value);
      if (value !== rule.default) values[name] = value;
    }
    return values;
  }

  get container() {
    return this.form.elements.container.value;
  }

  set(values) {
    for (const [name, rule] of Object.entries(this.schema)) {
      const control = this.form.elements[name];
      const value = values[name] ?? rule.default;
      if (control.type === 'checkbox') control.checked = Boolean(value);
      else control.value = asText(value);
    }
  }

  // puts a sentence below the field that it names, as the command and the server do:
  // `--size big: ...`, `options.size: ...`; else above the buttons
  complain(sentence, problem) {
    this.fault?.removeAttribute('aria-invalid');
    const [, name] = /^(?:--|options\.)([\w-]+)/.exec(sentence) ?? [];
    this.fault = (name && this.form.querySelector(`#f-${name.replaceAll('-', '_')}`)) ?? null;
    if (this.fault) {
      this.fault.setAttribute('aria-invalid', 'true');
      this.fault.closest('details')?.setAttribute('open', '');
      this.fault.parentElement.append(problem);
    } else this.form.lastElementChild.before(problem);
    problem.textContent = sentence;
  }

  setOne(name, value) {
    const control = this.form.elements[name];
    if (control) control.value = value ?? '';
  }
}

function asText(value) {
  return Array.isArray(value) ? value.join(' ') : value ?? '';
}

// what is no number stays a word, so that the server's sentence can name it
function numbersIn(text) {
  return text.split(/[\s,]+/).filter(Boolean).map((word) => (/^\d+$/.test(word) ? Number(word) : word));
}

function kindOf(rule) {
  const forms = rule.anyOf ?? [rule];
  const real = forms.filter((form) => form.type !== 'null');
  const first = real[0];
  const choices = first.enum ?? ('const' in first ? [first.const] : null);
  // several types at once, such as a word or a number, are typed as text
  const type = real.length > 1 ? 'string' : first.type;
  return { type, optional: forms.length > real.length, choices: real.length > 1 ? null : choices };
}
