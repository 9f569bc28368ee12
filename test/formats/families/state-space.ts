/** State space models, and others without attention. */
import { type Families, layerNorm, rmsNorm, sizes } from './family';

export const stateSpaceFamilies: Families = {
  Mamba: {
    config: { model_type: 'mamba', ...sizes, layer_norm_epsilon: 1e-2, time_step_limit: [0, Infinity] },
    embedding: 'backbone.embeddings.weight',
    norm: 'backbone.norm_f.weight',
    normOf: rmsNorm(1e-2),
  },
  'Falcon Mamba': {
    config: { model_type: 'falcon_mamba', ...sizes, layer_norm_epsilon: 1e-2 },
    embedding: 'backbone.embeddings.weight',
    norm: 'backbone.norm_f.weight',
    normOf: rmsNorm(1e-2),
  },
  'Mamba 2': {
    config: { model_type: 'mamba2', ...sizes, layer_norm_epsilon: 1e-2 },
    embedding: 'backbone.embeddings.weight',
    output: 'lm_head.weight',
    norm: 'backbone.norm_f.weight',
    normOf: rmsNorm(1e-2),
  },
  'Nemotron-H': {
    config: { model_type: 'nemotron_h', ...sizes, layer_norm_epsilon: 1e-2 },
    embedding: 'backbone.embeddings.weight',
    output: 'lm_head.weight',
    norm: 'backbone.norm_f.weight',
    normOf: rmsNorm(1e-2),
  },
  RWKV: {
    config: { model_type: 'rwkv', ...sizes, layer_norm_epsilon: 1e-2 }, // which its last norm does not heed
    embedding: 'rwkv.embeddings.weight',
    output: 'head.weight',
    norm: 'rwkv.ln_out.weight',
    normBias: 'rwkv.ln_out.bias',
    normOf: layerNorm(1e-5),
  },
};
