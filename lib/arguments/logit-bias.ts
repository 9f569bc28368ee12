/** Numbers by token id: the option logitBias. */
import { types } from 'node:util';
import { LMHeadError } from '../errors';
import { got } from './describe';
import { reading } from './reading';

const { forEach } = Map.prototype;

/**
 * Goes through the biases of one row: finite, or -Infinity; an id may come more than once.
 * @param biases a Map, or an object that is a mere record
 */
export function readBiases(
  biases: unknown,
  name: string,
  valid: number,
  visit: (id: number, bias: number) => void,
): void {
  const read = (bias: unknown, key: unknown) => {
    const id = typeof key === 'string' && /^\d+$/.test(key) ? Number(key) : key;
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id >= valid) {
      const kind = typeof id === 'number' ? 'RANGE' : 'ARGUMENT';
      throw new LMHeadError(kind, `${name}: got a bias for ${got(key)}; want an id below ${valid}`);
    }
    if (typeof bias !== 'number' || !(bias < Infinity)) {
      throw new LMHeadError(
        typeof bias === 'number' ? 'RANGE' : 'ARGUMENT',
        `${name}[${id}]: got ${got(bias)}; want a finite number, or -Infinity, which bans the id`,
      );
    }
    visit(id, bias);
  };
  // Maps of other realms are Maps as well. What is neither would have no entries, and be taken for none.
  if (types.isMap(biases)) {
    forEach.call(biases, read);
  } else if (reading(name, () => isRecord(biases))) {
    reading(name, () => {
      const record = biases as Record<string, unknown>;
      for (const key of Object.keys(record)) read(record[key], key);
    });
  } else {
    throw new LMHeadError(
      'ARGUMENT',
      `${name}: got ${got(biases)}; want a plain object or a Map of numbers by token id`,
    );
  }
}

/** An object that no class has made, of whatever realm, and that lists nothing in another way. */
function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Symbol.iterator in value) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
