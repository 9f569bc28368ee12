/** Forms that a weight can be stored in, beside or instead of a plain matrix, and that are not read. */
import { isUnmistakable, type NamedPart } from './head-names';
import type { TensorEntry } from './tensor-table';

/** How a tensor of such a form is called below its module, and what the form is. */
const FORMS: readonly [leaf: string, form: string][] = [
  ['qweight', 'GPTQ or AWQ'],
  ['weight_packed', 'compressed-tensors'],
  ['W_q', 'HQQ'],
  ['weight._data', 'quanto'],
  ['base_layer', 'an adapter (LoRA) that is not merged'],
  ['lora_A', 'an adapter (LoRA) that is not merged'],
  ['lora_embedding_A', 'an adapter (LoRA) that is not merged'],
  ['original_module', 'an adapter (PEFT) that is not merged'],
  ['modules_to_save', 'an adapter (PEFT) that is not merged'],
  ['weight_scale', 'a scaled type (FP8 or int8)'],
  ['weight_scale_inv', 'a scaled type (FP8)'],
  ['SCB', 'bitsandbytes'],
  ['weight.absmax', 'bitsandbytes'],
  ['weight.SCB', 'bitsandbytes'],
  ['scales', 'a quantized type (MLX)'],
];

/** Of a module with nothing but such, the matrix is elsewhere: BERT's transform stands below lm_head, too. */
const NO_MATRIX = /^(?:bias$|(?:dense|transform|layer_norm|layernorm|LayerNorm|norm|ln)\.)/;

export interface UnreadForm {
  form: string;
  tensor: { name: string; entry: TensorEntry };
}

/** The form of a module that has one. */
export function unreadForm(
  module: Omit<NamedPart, 'leaf'> & { leaves: ReadonlyMap<string, UnreadForm['tensor']> },
): UnreadForm | undefined {
  const { leaves } = module;
  for (const [leaf, form] of FORMS) {
    for (const [name, tensor] of leaves) {
      if (name === leaf || name.startsWith(`${leaf}.`)) return { form, tensor };
    }
  }
  if (module.kind !== 'output' || !isUnmistakable(module) || leaves.has('weight') || leaves.has(''))
    return undefined;
  for (const [name, tensor] of leaves) {
    if (!NO_MATRIX.test(name)) return { form: 'which has no name here', tensor };
  }
  return undefined;
}
