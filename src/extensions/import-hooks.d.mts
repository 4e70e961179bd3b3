type Next = (specifier: string, context: unknown) => unknown;

export function initialize(given: Readonly<Record<string, string>>): void;
export function resolve(specifier: string, context: unknown, next: Next): Promise<unknown>;
export function resolveSync(specifier: string, context: unknown, next: Next): unknown;
export function isModule(text: string, typed: boolean): boolean;
