/** The forms that are read, beside plain matrices. */
import type { FormContext, Leaves, MatrixForm } from './form';
import { gptqForm } from './gptq';
import { mlxForm } from './mlx';
import { packedForm } from './packed';
import { scaledForm } from './scaled';

export { type MatrixForm, type Part, type ReadPart, storesInfinity } from './form';

/** Adapters change the weight that they stand beside. */
const CHANGED = /^(?:base_layer|lora_\w+|original_module|modules_to_save)(?:\.|$)/;

/**
 * The form that a module's tensors are in.
 * @throws LMHeadError SHAPE, DTYPE or TENSOR where they are of such a form, and don't go together
 */
export function formOf(leaves: Leaves, context: FormContext): MatrixForm | undefined {
  for (const leaf of leaves.keys()) if (CHANGED.test(leaf)) return undefined;
  return (
    mlxForm(leaves, context) ??
    packedForm(leaves, context) ??
    gptqForm(leaves, context) ??
    scaledForm(leaves, context)
  );
}
