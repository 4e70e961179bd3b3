export const root: string;
export class SetupError extends Error {}
export function atLeast(version: string, least: readonly number[]): boolean;
export function checkNode(version: string): void;
export function findBasePython(candidates?: readonly string[]): string;
export function ensure(): Promise<void>;
