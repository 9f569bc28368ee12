/**
 * Mapped files that shrink are guarded by a handler of SIGBUS, of which a process has one: Node.js sets its own where JavaScript
 * begins to listen to the signal, and none where that ends. The addon looks at it before every part of a map that it reads; here
 * it is told at once, for the sake of passes that are in the middle of one.
 */
import { isMainThread } from 'node:worker_threads';
import type { Addon } from './addon';

let isTold = false;

/** Signals are listened to on the main thread alone. */
export function keepMapsGuarded(addon: Addon): void {
  if (isTold || !isMainThread || process.platform === 'win32') return;
  isTold = true;
  const renew = (event: string | symbol) => {
    if (event === 'SIGBUS') addon.renewGuards();
  };
  process.on('newListener', renew);
  process.on('removeListener', renew);
}
