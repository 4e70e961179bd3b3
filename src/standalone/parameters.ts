/** Counts the parameters of a model folder from the headers of its files. */
import { closeSync, existsSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { openFile } from '../files/text-file.ts';
import { UserError } from '../user-error.ts';

/** The optimizer's state, in the folder of the weights. */
const notWeights = ['genac_state.safetensors'];

/** null: there is no such folder, or it is an adapter, which does not say how large its base is. */
export function parametersIn(folder: string): number | null {
  if (!existsSync(folder) || existsSync(join(folder, 'adapter_config.json'))) return null;
  const files = readdirSync(folder).filter(
    (name) => name.endsWith('.safetensors') && !notWeights.includes(name),
  );
  return files.length === 0
    ? null
    : files.reduce((sum, name) => sum + elementsIn(join(folder, name)), 0);
}

const LONGEST_HEAD = 100_000_000n;
const tensorSchema = z.looseObject({ shape: z.array(z.int().nonnegative()) });

/**
 * Safetensors: the length of a JSON header as 8 bytes, and the header with the shape of each
 * tensor.
 */
function elementsIn(path: string): number {
  const file = openFile(path);
  try {
    const length = Buffer.alloc(8);
    readSync(file, length, 0, 8, 0);
    const bytes = length.readBigUInt64LE();
    if (bytes > LONGEST_HEAD) throw new Error(`a head of ${bytes} bytes`);
    const head = Buffer.alloc(Number(bytes));
    readSync(file, head, 0, head.length, 8);
    const { __metadata__, ...tensors } = JSON.parse(head.toString('utf8')) as Record<
      string,
      unknown
    >;
    const shapes = z.array(tensorSchema).parse(Object.values(tensors));
    return shapes.reduce((sum, { shape }) => sum + shape.reduce((n, d) => n * d, 1), 0);
  } catch (error) {
    throw new UserError(
      `${path} is not in safetensors format: ${(error as Error).message.split('\n')[0]}`,
      {
        cause: error,
      },
    );
  } finally {
    closeSync(file);
  }
}
