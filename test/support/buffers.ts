/** An ArrayBuffer whose size can change: in Node 20 and later, though not in the types of ES2023. */
export interface Resizable extends ArrayBuffer {
  resize(size: number): void;
}

/** The same of a SharedArrayBuffer. */
export interface Growable extends SharedArrayBuffer {
  grow(size: number): void;
}

export function growable(byteLength: number, maxByteLength: number): Growable {
  const Buffer = SharedArrayBuffer as unknown as new (
    size: number,
    options: { maxByteLength: number },
  ) => Growable;
  return new Buffer(byteLength, { maxByteLength });
}

export function resizable(byteLength: number, maxByteLength = byteLength): Resizable {
  const Buffer = ArrayBuffer as unknown as new (
    size: number,
    options: { maxByteLength: number },
  ) => Resizable;
  return new Buffer(byteLength, { maxByteLength });
}
