import { existsSync } from 'node:fs';
import { type ConvertTarget, convertHead } from '../head/convert';
import type { Command } from './command';
import { openOptions } from './head';
import { UsageError } from './options';
import { bytesText, count, jsonLine, pairs } from './output';

export const convert: Command = {
  name: 'convert',
  summary: 'Write the head of a model alone',
  file: 'required',
  options: ['output', 'dtype', 'force', 'tensor', 'threads', 'backend'],
  required: ['output'],
  own: {
    dtype: {
      value: 'DTYPE',
      help: 'f32, f16 or bf16 for all its weights; i8 or q8_0 for the output matrix (default: as they are held)',
      choices: ['f32', 'f16', 'bf16', 'i8', 'q8_0'],
    },
  },
  examples: [
    ['lmhead convert ./a-model-folder -o head.safetensors', 'matrices, bias, norm and scales, as they are'],
    ['lmhead convert model.gguf -o head.safetensors --dtype bf16', 'dequantized'],
  ],
  async run(parsed, { out }) {
    const output = parsed.text('output')!;
    if (!output.endsWith('.safetensors')) {
      throw new UsageError(`convert: got --output ${output}; want a name that ends in .safetensors`);
    }
    if (existsSync(output) && !parsed.flag('force')) {
      throw new UsageError(`convert: ${output} exists; want another name, or --force`);
    }
    const dtype = parsed.text('dtype') as ConvertTarget | undefined;
    const { report, ...written } = await convertHead(parsed.file!, output, dtype, openOptions(parsed));
    if (parsed.flag('json')) {
      const { family = null, output: from, input = null } = report;
      await out.write(
        jsonLine({ file: parsed.file, output, family, tensors: { output: from, input }, ...written }),
      );
      return true;
    }
    const { vocabSize, hiddenSize, bytes, error } = written;
    await out.write(
      pairs([
        ['written', output],
        ['vocabulary', `${count(vocabSize)} tokens`],
        ['hidden size', count(hiddenSize)],
        ['weights', `${written.dtype}, ${bytesText(bytes)}`],
        ...(error ? [['error', `${(100 * error.relative).toPrecision(3)} %`] as [string, string]] : []),
      ]),
    );
    return true;
  },
};
