/** Forms that a weight can be stored in, beside or instead of a plain matrix, and that are not read. */
import { isUnmistakable, type NamedPart } from './head-names';
import type { TensorEntry } from './tensor-table';

/** How a tensor of such a form is called below its module, and what the form is: those that only one form has come first. */
const FORMS: readonly [leaves: string, form: string][] = [
  [
    'base_layer lora_A lora_B lora_a lora_b lora_embedding_A lora_embedding_B lora_magnitude_vector',
    'an adapter (LoRA) that is not merged',
  ],
  ['original_module modules_to_save', 'an adapter (PEFT) that is not merged'],
  ['q_weight q_scale q_groups', 'EXL2'],
  ['trellis suh svh', 'EXL3'],
  ['codes codebooks', 'AQLM'],
  ['Qidxs SU SV', 'QuIP#'],
  ['W_q', 'HQQ'],
  ['centroids res_centroids indices', 'VPTQ'],
  ['B workspace', 'Marlin'],
  ['weight._data', 'quanto'],
  ['weight_blocks weight_scales blocks', 'MXFP4 in blocks'],
  ['weight_scale_2', 'NVFP4 (ModelOpt)'],
  ['weight_global_scale', 'NVFP4 (compressed-tensors)'],
  ['weight_packed', 'compressed-tensors'],
  ['compressed bitmask weight.compressed weight.bitmask', 'compressed-tensors, sparse'],
  ['weight_qdata _weight_qdata _weight_scale', 'torchao'],
  ['encoded_exponent sign_mantissa', 'DFloat11'],
  ['dense_weights row_offsets', 'SpQR'],
  ['weight_g weight_v parametrizations', 'a direction and a length for each row (weight_norm)'],
  ['qweight qzeros', 'GPTQ or AWQ'],
  ['SCB weight.absmax weight.SCB weight.quant_map weight.nested_absmax', 'bitsandbytes'],
  ['weight_scale weight_scale_inv qscale_weight scale_weight', 'a scaled type (FP8 or int8)'],
  ['scales', 'a quantized type (MLX)'],
];
const FORM_OF = new Map(FORMS.flatMap(([leaves, form]) => leaves.split(' ').map(leaf => [leaf, form])));
const ORDER = [...FORM_OF.keys()];

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
  let first = ORDER.length;
  let found: UnreadForm | undefined;
  for (const [name, tensor] of leaves) {
    const at = ORDER.findIndex(leaf => name === leaf || name.startsWith(`${leaf}.`));
    if (at < 0 || at >= first) continue;
    first = at;
    found = { form: FORM_OF.get(ORDER[at])!, tensor };
  }
  if (found) return { ...found, form: fourBits(leaves, found.tensor) ?? found.form };
  if (module.kind !== 'output' || !isUnmistakable(module) || leaves.has('weight') || leaves.has(''))
    return undefined;
  for (const [name, tensor] of leaves) {
    if (!NO_MATRIX.test(name)) return { form: 'which has no name here', tensor };
  }
  return undefined;
}

/** Of 4-bit floats, two a byte, only the scales tell which they are. */
function fourBits(leaves: ReadonlyMap<string, UnreadForm['tensor']>, { name }: UnreadForm['tensor']) {
  const packed = leaves.get('weight_packed') ?? leaves.get('weight');
  const scale = leaves.get('weight_scale');
  if (packed?.entry.dtype !== 'U8' || !scale || !/\.weight_(?:packed|scale\w*|global_scale)$/.test(name))
    return undefined;
  const maker = leaves.has('weight_packed') ? 'compressed-tensors, ' : '';
  if (scale.entry.dtype === 'U8' || scale.entry.dtype === 'F8_E8M0') return `${maker}MXFP4`;
  return scale.entry.dtype === 'F8_E4M3' ? `${maker}NVFP4` : undefined;
}
