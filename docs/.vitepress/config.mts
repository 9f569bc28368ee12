import { existsSync, readFileSync } from 'node:fs';
import { defineConfig } from 'vitepress';

/** What typedoc wrote; `npm run docs` runs it first. */
const apiSidebar = new URL('../api/typedoc-sidebar.json', import.meta.url);

const page = (text: string, link: string) => ({ text, link });

/** The documentation site: the pages of docs/, and the reference that typedoc makes of the docstrings. */
export default defineConfig({
  title: 'lmhead',
  description: 'The last layer of a language model for Node.js',
  base: process.env.DOCS_BASE ?? '/',
  outDir: '../build-docs',
  cacheDir: '../.cache/vitepress',
  cleanUrls: true,
  // What programs print is shown as text.
  markdown: { languages: ['js', 'ts', 'json', 'sh', 'python', 'dockerfile', 'yaml'] },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      page('Guide', '/install'),
      page('Concepts', '/the-lm-head'),
      page('Recipes', '/recipes/'),
      page('API', '/api/'),
    ],
    sidebar: [
      {
        text: 'Guide',
        items: [
          page('Installing', '/install'),
          page('Weights', '/weights'),
          page('Choosing a token', '/sampling'),
          page('Speculative decoding', '/speculative-decoding'),
          page('In a server', '/servers'),
          page('On many machines', '/many-machines'),
          page('In an app, a bundle', '/embedding-in-an-app'),
          page('onnxruntime as the body', '/onnxruntime'),
          page('The head of an ONNX file', '/onnx'),
          page('An ONNX decoder', '/onnx-decoder'),
          page('Command line', '/cli'),
        ],
      },
      {
        text: 'Concepts',
        items: [
          page('The LM head', '/the-lm-head'),
          page('Model families', '/model-families'),
          page('Quantization', '/quantization'),
          page('Screening', '/screening'),
          page('Instruction sets', '/instruction-sets'),
          page('Logit lens and similarity', '/logit-lens-and-similarity'),
          page('A part of the vocabulary', '/subsets'),
        ],
      },
      {
        text: 'Recipes',
        items: [
          page('All recipes', '/recipes/'),
          page('Log-probabilities as OpenAI’s API has them', '/recipes/openai-logprobs'),
          page('A grammar decides what may come', '/recipes/grammar'),
          page('Perplexity of a corpus', '/recipes/perplexity'),
          page('transformers.js', '/recipes/transformers-js'),
          page('node-llama-cpp', '/recipes/node-llama-cpp'),
          page('onnxruntime’s threads', '/recipes/onnxruntime-threads'),
        ],
      },
      {
        text: 'API',
        link: '/api/',
        collapsed: true,
        items: existsSync(apiSidebar) ? JSON.parse(readFileSync(apiSidebar, 'utf8')) : [],
      },
    ],
  },
});
