/** A whole model, opened as a body and its head. */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { LMHeadError } from '../errors';
import { LMHead } from '../lm-head';
import { cutHead } from './cut-head';

export interface Parts {
  /** A file for as long as a session is made of it. */
  body: string;
  /** Undefined where the caller has one. */
  head: LMHead | undefined;
  removeBody(): Promise<void>;
}

/**
 * @param hasHead of the caller's: the model's own is not opened
 * @returns the parts, or why there are none: the model is a body, has a head of a kind that cannot be cut, or there is no place for the file
 */
export async function partsOf(path: string, hasHead: boolean): Promise<Parts | LMHeadError> {
  try {
    return await cutApart(path, hasHead);
  } catch (error) {
    if (error instanceof LMHeadError) return error;
    throw error;
  }
}

async function cutApart(path: string, hasHead: boolean): Promise<Parts> {
  const folder = await mkdtemp(join(tmpdir(), 'lmhead-body-'));
  let body = join(folder, 'body.onnx');
  const removeBody = async () => {
    await rm(folder, { recursive: true, force: true });
    await rm(body, { force: true });
  };
  try {
    await cutHead(path, { output: body }).catch((error: LMHeadError) => {
      // External data are not copied.
      if (!/which the body needs beside it$/.test(error.message)) throw error;
      body = join(dirname(path), `.body-${randomBytes(6).toString('hex')}.onnx`);
      return cutHead(path, { output: body });
    });
    return { body, head: hasHead ? undefined : await LMHead.open(path), removeBody };
  } catch (error) {
    await removeBody();
    throw error;
  }
}
