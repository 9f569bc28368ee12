/** How many ids a tokenizer can give out: from tokenizer.json, as Hugging Face's tokenizers write it. */
import { JsonScanner } from './json-scanner';

/**
 * @returns one more than the largest id; 0 where the file has none
 * @throws SyntaxError where it is no such file
 */
export function tokenizerSize(text: string | Uint8Array): number {
  const scanner = new JsonScanner(text);
  let size = 0;
  const id = () => {
    size = Math.max(size, scanner.integer() + 1);
  };
  scanner.object(key => {
    if (key === 'added_tokens' && scanner.next() === 'array') {
      scanner.array(() => scanner.object(field => (field === 'id' ? id() : scanner.skip())));
    } else if (key === 'model' && scanner.next() === 'object') {
      scanner.object(field => {
        if (field !== 'vocab' || scanner.next() === 'scalar') scanner.skip();
        else if (scanner.next() === 'object') scanner.values(id);
        else {
          // A Unigram model's is a list of pairs, in which a token's index is its id.
          let count = 0;
          scanner.array(() => {
            scanner.skip();
            count++;
          });
          size = Math.max(size, count);
        }
      });
    } else scanner.skip();
  });
  scanner.end();
  return size;
}

/** As `tokenizerSize`, of added_tokens.json: ids by token. */
export function addedTokensSize(text: string | Uint8Array): number {
  const scanner = new JsonScanner(text);
  let size = 0;
  scanner.values(() => {
    size = Math.max(size, scanner.integer() + 1);
  });
  scanner.end();
  return size;
}

/** As `tokenizerSize`, of tokenizer_config.json, which has added tokens by id. */
export function tokenizerConfigSize(text: string | Uint8Array): number {
  const scanner = new JsonScanner(text, { python: true });
  let size = 0;
  scanner.object(key => {
    if (key !== 'added_tokens_decoder' || scanner.next() !== 'object') return scanner.skip();
    scanner.members(id => {
      if (/^\d{1,15}$/.test(id)) size = Math.max(size, Number(id) + 1);
      scanner.skip();
    });
  });
  scanner.end();
  return size;
}
