/** Warnings, as Node's own: on stderr by default, and for `process.on('warning')`. */
export function warn(code: string, message: string): void {
  process.emitWarning(message, { type: 'LMHeadWarning', code });
}
