/**
 * What the user can mend: its message alone is shown, and says what was wrong, where, and what to
 * do. Any other error is a fault of ours, and keeps its stack.
 */
export class UserError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'UserError';
  }
}
