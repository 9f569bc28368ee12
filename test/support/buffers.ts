/** An ArrayBuffer whose size can change: in Node 20 and later, though not in the types of ES2023. */
export interface Resizable extends ArrayBuffer {
  resize(size: number): void;
}

export function resizable(byteLength: number, maxByteLength = byteLength): Resizable {
  const Buffer = ArrayBuffer as unknown as new (
    size: number,
    options: { maxByteLength: number },
  ) => Resizable;
  return new Buffer(byteLength, { maxByteLength });
}
