/** Where in the arguments of a call something hostile is put. */
import { below, pick } from './chance.mjs';
import { action, hostile, SIMPLE } from './values.mjs';

/** What is hostile already, and not to be looked into. */
let spoiled = new Set();

/** Nothing is hostile yet. */
export function beginSpoiling() {
  spoiled = new Set();
}

/** Puts something hostile somewhere into the arguments. */
export function spoil(list, options) {
  let holder = list;
  let key = below(list.length + 1);
  const last = key === list.length - 1;
  // Into what an argument holds, mostly.
  for (let depth = 0; depth < 3; depth++) {
    const inner = valueAt(holder, key);
    if (typeof inner !== 'object' || inner === null || spoiled.has(inner) || below(4) === 0) break;
    const names = depth === 0 && last && below(2) ? Object.keys(options) : [];
    const keys = names.length > 0 ? names : Reflect.ownKeys(inner).filter(name => name !== 'length');
    if (keys.length === 0) break;
    holder = inner;
    key = pick(keys);
  }
  const good = valueAt(holder, key) ?? options[key]?.();
  let value;
  try {
    value = hostile(spoiled.has(good) ? undefined : good);
  } catch {
    value = pick(SIMPLE); // what it was to be made of is hostile already
  }
  spoiled.add(value);
  if (ArrayBuffer.isView(holder)) {
    // Not into a handle's weights: they are those of the other heads.
    const isBorrowed = holder.buffer instanceof SharedArrayBuffer;
    if (typeof value === typeof holder[key] && !isBorrowed) holder[key] = value;
  } else if (below(3) === 0 && holder !== list) {
    const get = action(below(2) ? () => good : () => value);
    Object.defineProperty(holder, key, { get, enumerable: true, configurable: true });
  } else {
    Object.defineProperty(holder, key, { value, enumerable: true, configurable: true, writable: true });
  }
}

/** Runs no getter. */
function valueAt(holder, key) {
  return Object.getOwnPropertyDescriptor(holder, key)?.value;
}
