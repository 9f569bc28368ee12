/** Runs `call`, and returns what it returns and the warnings that it emits: 'CODE: message'. */
export async function warningsOf<T>(call: () => T | Promise<T>): Promise<{ result: T; warnings: string[] }> {
  const turn = () => new Promise(resolve => setImmediate(resolve)); // Node emits them on a later one
  await turn();
  const warnings: string[] = [];
  const listen = (warning: Error & { code?: string }) => warnings.push(`${warning.code}: ${warning.message}`);
  process.on('warning', listen);
  try {
    const result = await call();
    await turn();
    return { result, warnings };
  } finally {
    process.off('warning', listen);
  }
}
